//! Pages as visitors and programs get them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_web::body::to_bytes;

use super::*;

async fn body(answer: HttpResponse) -> String {
    let bytes = to_bytes(answer.into_body()).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn built_in() -> Pages {
    Pages::load(&PagesConfig::default()).unwrap()
}

#[test]
fn pages_are_found_under_their_own_number() {
    for (index, page) in Page::ALL.iter().enumerate() {
        assert_eq!(*page as usize, index);
    }
}

#[actix_web::test]
async fn built_in_pages_are_small_complete_and_run_nothing() {
    let pages = built_in();
    for page in Page::ALL {
        let answer = pages.answer(page, false);
        assert_eq!(answer.headers().get(header::CONTENT_TYPE).unwrap(), HTML);
        let html = body(answer).await;
        assert!(html.len() < 4_096, "{page:?} has {} bytes", html.len());
        for needed in ["<html lang=\"en\">", "<main>", "<h1>", "prefers-color-scheme: dark"] {
            assert!(html.contains(needed), "{page:?} lacks {needed}");
        }
        for unwanted in ["<script", "{{", "http://", "https://", " style=", " onload="] {
            assert!(!html.contains(unwanted), "{page:?} has {unwanted}");
        }
        assert!(html.contains(page.text().title));
    }
}

#[actix_web::test]
async fn a_gone_link_says_why_in_both_forms() {
    let pages = built_in();
    for (page, word, code) in [
        (Page::Expired, "expired", "link_expired"),
        (Page::Exhausted, "used up", "link_exhausted"),
        (Page::Disabled, "switched off", "link_disabled"),
        (Page::Archived, "no longer in use", "link_archived"),
    ] {
        let answer = pages.answer(page, false);
        assert_eq!(answer.status(), StatusCode::GONE);
        assert!(body(answer).await.contains(word));

        let answer = pages.answer(page, true);
        assert_eq!(answer.status(), StatusCode::GONE);
        assert_eq!(answer.headers().get(header::CONTENT_TYPE).unwrap(), PROBLEM_JSON);
        let problem: serde_json::Value = serde_json::from_str(&body(answer).await).unwrap();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["status"], 410);
        assert_eq!(problem["type"], format!("/problems/{code}"));
    }
}

#[test]
fn only_unavailable_asks_to_come_back() {
    let pages = built_in();
    for page in Page::ALL {
        let answer = pages.answer(page, false);
        assert_eq!(answer.headers().contains_key(header::RETRY_AFTER), page == Page::Unavailable);
        assert_eq!(answer.headers().get(header::CACHE_CONTROL).unwrap(), "private, no-store");
    }
}

#[test]
fn the_policy_allows_exactly_the_styles_of_the_page() {
    // The digest of `a{}` as `openssl dgst -sha256 -binary | base64` prints it.
    let html = "<STYLE media=\"all\">a{}</STYLE><p>x</p><style>a{}</style >";
    assert_eq!(styles(html).collect::<Vec<_>>(), ["a{}", "a{}"]);
    let policy = content_policy(html, false);
    let digest = "'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='";
    assert_eq!(policy.matches(digest).count(), 2, "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe-inline"));
    assert!(!policy.contains("img-src"));
    assert!(!content_policy("<p>no style</p>", true).contains("style-src"));
}

#[actix_web::test]
async fn an_operator_replaces_single_pages() {
    let folder = tempfile::tempdir().unwrap();
    let own = "<title>{{ status }}</title>\r\n<b>{{title}}</b>{{reason}}";
    fs::write(folder.path().join("410.html"), own).unwrap();
    let config =
        PagesConfig { templates: Some(folder.path().to_owned()), ..PagesConfig::default() };
    let pages = Pages::load(&config).unwrap();
    let html = body(pages.answer(Page::Expired, false)).await;
    assert!(html.starts_with("<title>410</title>\n<b>This link has expired</b>It was"), "{html}");
    let built_in = body(pages.answer(Page::NotFound, false)).await;
    assert!(built_in.contains("<main>"));
}

#[test]
fn broken_templates_are_configuration_problems() {
    let folder = tempfile::tempdir().unwrap();
    let problems_of = |config: &PagesConfig| {
        let mut problems = Problems::default();
        config.check(&mut problems);
        problems.to_string()
    };
    let mut config =
        PagesConfig { templates: Some(folder.path().join("absent")), ..PagesConfig::default() };
    assert!(problems_of(&config).contains("`pages.templates`"));
    config.templates = Some(folder.path().to_owned());
    assert_eq!(problems_of(&config), "");
    for text in ["{{titel}}", "{{title"] {
        fs::write(folder.path().join("404.html"), text).unwrap();
        assert!(problems_of(&config).contains("404.html"), "{text}");
    }
    fs::write(folder.path().join("404.html"), [0xff, 0xfe]).unwrap();
    assert!(problems_of(&config).contains("404.html"));
}

#[test]
fn the_home_page_leads_where_the_operator_says() {
    let to = |url: &str| {
        Pages::load(&PagesConfig { home_url: Some(url.to_owned()), ..PagesConfig::default() })
    };
    let answer = to("https://company.example").unwrap().home();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers().get(header::LOCATION).unwrap(), "https://company.example/");
    for url in ["", "company.example", "javascript:alert(1)", "ftp://a.example/"] {
        assert!(to(url).is_err_and(|problem| problem.contains("`pages.home_url`")), "{url}");
    }
    assert_eq!(built_in().home().status(), StatusCode::OK);
}

#[test]
fn texts_are_escaped() {
    let mut page = String::new();
    push_escaped(&mut page, "<a href=\"x\">'&");
    assert_eq!(page, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
}
