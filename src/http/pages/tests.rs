//! Pages as visitors and programs get them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_web::body::to_bytes;

use actix_web::http::StatusCode;

use super::template::styles;
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
        let html = html.replace("http://www.w3.org/2000/svg", "the name of a format");
        for needed in ["<html lang=\"en\">", "<main ", "<h1>", "prefers-color-scheme: dark"] {
            assert!(html.contains(needed), "{page:?} lacks {needed}");
        }
        for unwanted in ["<script", "{{", "http://", "https://", " style=", " onload="] {
            assert!(!html.contains(unwanted), "{page:?} has {unwanted}");
        }
        let text = page.text();
        assert_eq!(html.matches(text.title).count(), 2, "{page:?}");
        assert!(html.contains(text.reason) && html.contains(text.advice), "{page:?}");
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
    let html = "<STYLE media=\"(width > 9px)\">a{}</STYLE><p>x</p><style>a{}</style >";
    assert_eq!(styles(html).collect::<Vec<_>>(), ["a{}", "a{}"]);
    let policy = content_policy(html, "'none'", "img-src data:");
    let digest = "'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='";
    assert_eq!(policy.matches(digest).count(), 2, "{policy}");
    assert!(policy.contains("frame-ancestors 'none'; img-src data:; style-src"), "{policy}");
    assert!(!policy.contains("unsafe-inline"));
    assert!(!content_policy("<p>no style</p>", "'none'", OWN_SOURCES).contains("style-src"));
    for comment in ["<!-- one <style> is enough -->", "<!-- <style isn't here -->", "<style>"] {
        let html = format!("{comment}<style>a{{}}</style>");
        assert!(styles(&html).any(|style| style == "a{}"), "{html}");
    }
}

fn own(folder: &Path) -> PagesConfig {
    PagesConfig { templates: Some(folder.to_owned()), ..PagesConfig::default() }
}

#[actix_web::test]
async fn an_operator_replaces_single_pages() {
    let folder = tempfile::tempdir().unwrap();
    let file = "<title>{{ status }}</title>\r\n<b>{{title}}</b>\r{{reason}} {{advice}}";
    fs::write(folder.path().join("410.html"), file).unwrap();
    let pages = Pages::load(&own(folder.path())).unwrap();
    let answer = pages.answer(Page::Expired, false);
    let policy = answer.headers().get(header::CONTENT_SECURITY_POLICY).unwrap().to_owned();
    assert!(policy.to_str().unwrap().contains("img-src 'self' data: https:"), "{policy:?}");
    let html = body(answer).await;
    let text = Page::Expired.text();
    let expected = format!(
        "<title>410</title>\n<b>This link has expired</b>\n{} {}",
        text.reason, text.advice
    );
    assert_eq!(html, expected);
    let built_in = body(pages.answer(Page::NotFound, false)).await;
    assert!(built_in.contains("<main "));
}

fn problems_of(config: &PagesConfig) -> Vec<String> {
    let mut problems = Problems::default();
    config.check(&mut problems);
    problems.sentences().to_vec()
}

#[test]
fn broken_templates_are_configuration_problems() {
    let folder = tempfile::tempdir().unwrap();
    let config = own(folder.path());
    assert!(problems_of(&own(&folder.path().join("absent")))[0].contains("`pages.templates`"));
    assert!(problems_of(&config).is_empty());
    let file = folder.path().join("410.html");
    let large = vec![b'a'; 256 * 1_024 + 1];
    fs::write(&file, &large[1..]).unwrap();
    assert!(problems_of(&config).is_empty(), "256 KiB fit");
    let cases: [(&[u8], &str); 6] = [
        (b"{{titel}}", "an unknown placeholder `{{titel}}`; there are `{{title}}`, "),
        (b"{{icon}}", "an unknown placeholder"),
        (b"{{title", "without its `}}`"),
        (b"<p>\xff\xfe", "is not UTF-8 from byte 3"),
        (b" \r\n", "is empty"),
        (&large, "is larger than 262144 bytes"),
    ];
    for (text, what) in cases {
        fs::write(&file, text).unwrap();
        let problems = problems_of(&config);
        assert_eq!(problems.len(), 1, "one mistake in the file of four pages: {problems:?}");
        assert!(problems[0].starts_with("`pages.templates`: "), "{problems:?}");
        assert!(problems[0].contains("410.html ") && problems[0].contains(what), "{problems:?}");
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(problems_of(&config)[0].ends_with("410.html is not a file"));
}

#[test]
fn every_mistake_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("404.html"), "{{titel}}").unwrap();
    fs::write(folder.path().join("home.html"), "").unwrap();
    let home_url = Some("company.example".to_owned());
    let problems = problems_of(&PagesConfig { home_url, ..own(folder.path()) }).join("\n");
    for named in ["`pages.home_url`", "404.html", "home.html"] {
        assert!(problems.contains(named), "{named} is not in\n{problems}");
    }
}

#[actix_web::test]
async fn a_page_offers_the_next_step_there_is() {
    let home_url = Some("https://company.example/?a=1&b='2'".to_owned());
    let pages = Pages::load(&PagesConfig { home_url, ..PagesConfig::default() }).unwrap();
    let way_out = "<a href=\"https://company.example/?a=1&amp;b=%272%27\">";
    assert!(body(pages.answer(Page::NotFound, false)).await.contains(way_out));
    let again = "<a href=\"\">Try again</a>";
    assert!(body(pages.answer(Page::Unavailable, false)).await.contains(again));
    assert!(!body(built_in().answer(Page::NotFound, false)).await.contains("<a "));
    assert!(body(built_in().answer(Page::Unavailable, false)).await.contains(again));
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
        assert!(
            to(url).is_err_and(|problem| problem.to_string().contains("`pages.home_url`")),
            "{url}"
        );
    }
    assert_eq!(built_in().home().status(), StatusCode::OK);
}

#[test]
fn texts_are_escaped() {
    assert_eq!(escaped("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
}
