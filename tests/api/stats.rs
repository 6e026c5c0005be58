//! What clicks add up to: who is counted, in which buckets, under which values.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::TestApp;

pub(crate) const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) \
    AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";
pub(crate) const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 \
    (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36";
pub(crate) const GOOGLEBOT: &str =
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// A server with the link `spring`.
pub(crate) async fn with_link() -> TestApp {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    app
}

/// Follows a link with these headers.
pub(crate) async fn visit(app: &TestApp, path: &str, headers: &[(&str, &str)]) {
    let mut request = app.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send(request).await.assert_status(302);
}

async fn stats(app: &TestApp, path: &str) -> Value {
    app.api(Method::GET, path, None).await.assert_status(200).json()
}

/// Value and clicks of each row.
fn rows(list: &Value) -> Vec<(&str, u64)> {
    let rows = list.as_array().expect("a list").iter();
    rows.map(|row| (row["value"].as_str().expect("text"), row["clicks"].as_u64().expect("clicks")))
        .collect()
}

fn sum(series: &Value, field: &str) -> u64 {
    series.as_array().expect("a list").iter().map(|at| at[field].as_u64().expect("n")).sum()
}

#[tokio::test]
async fn clicks_are_summed_up_by_day_and_by_what_is_known_of_visitors() {
    let app = with_link().await;
    let empty = stats(&app, "/links/spring/stats").await;
    assert_eq!((&empty["summary"]["clicks"], &empty["countries"]), (&json!(0), &json!([])));
    assert_eq!(empty["summary"]["first_click_at"], Value::Null);
    assert_eq!(empty["timeseries"].as_array().map(Vec::len), Some(30));

    let german = ("Accept-Language", "de-AT,de;q=0.9,en;q=0.5");
    for _ in 0..3 {
        visit(&app, "/spring", &[("User-Agent", IPHONE), german]).await;
    }
    let from_news = ("Referer", "https://www.news.example/today?id=1");
    visit(&app, "/spring?utm_source=mail&utm_medium=post", &[("User-Agent", WINDOWS)]).await;
    visit(&app, "/spring?qr=1", &[("User-Agent", WINDOWS), from_news]).await;
    visit(&app, "/spring?qr=1&utm_source=bots", &[("User-Agent", GOOGLEBOT)]).await;

    let all = app.api_becomes("/links/spring/stats", "/summary/bots", &json!(1)).await;
    let summary = &all["summary"];
    assert_eq!(summary["clicks"], 5, "{summary}");
    assert_eq!((&summary["unique_visitors"], &summary["qr_scans"]), (&json!(2), &json!(1)));
    assert_eq!(summary["avg_clicks_per_day"], 0.2);
    assert!(summary["first_click_at"].as_str() <= summary["last_click_at"].as_str());
    let series = &all["timeseries"];
    assert_eq!(series.as_array().map(Vec::len), Some(30));
    assert_eq!((sum(series, "clicks"), sum(series, "unique_visitors")), (5, 2));
    assert!(series[0]["start"].as_str().is_some_and(|at| at.ends_with("T00:00:00Z")), "{series}");

    assert_eq!(rows(&all["devices"]), [("mobile", 3), ("desktop", 2)]);
    assert_eq!(rows(&all["os"]), [("iOS", 3), ("Windows", 2)]);
    assert_eq!(rows(&all["browsers"]), [("Mobile Safari", 3), ("Chrome", 2)]);
    assert_eq!(rows(&all["languages"]), [("de", 3)]);
    assert_eq!(rows(&all["referrers"]), [("news.example", 1)]);
    assert_eq!(rows(&all["utm_sources"]), [("mail", 1)]);
    assert_eq!(rows(&all["utm_mediums"]), [("post", 1)]);
    assert_eq!(rows(&all["destinations"]), [("https://shop.example/", 5)]);
    assert_eq!(
        (&all["devices"][0]["share"], &all["languages"][0]["share"]),
        (&json!(0.6), &json!(0.6))
    );
    for unknown in ["countries", "regions", "cities", "continents", "utm_campaigns"] {
        assert_eq!(all[unknown], json!([]), "{unknown}");
    }
    app.finish().await;
}

#[tokio::test]
async fn bots_are_left_out_taken_in_or_alone() {
    let app = with_link().await;
    for user_agent in [IPHONE, WINDOWS, WINDOWS, GOOGLEBOT] {
        visit(&app, "/spring?utm_source=all", &[("User-Agent", user_agent)]).await;
    }
    app.api_becomes("/links/spring/stats?bots=include", "/summary/clicks", &json!(4)).await;
    for (bots, clicks, visitors) in [("exclude", 3, 2), ("include", 4, 3), ("only", 1, 1)] {
        let some = stats(&app, &format!("/links/spring/stats?bots={bots}")).await;
        let summary = &some["summary"];
        assert_eq!((&summary["clicks"], &summary["bots"]), (&json!(clicks), &json!(1)), "{bots}");
        assert_eq!(summary["unique_visitors"], visitors, "{bots}");
        assert_eq!(sum(&some["timeseries"], "clicks"), clicks, "{bots}");
        assert_eq!(rows(&some["utm_sources"]), [("all", clicks)], "{bots}");
        assert_eq!(some["utm_sources"][0]["share"], 1.0, "{bots}");
    }
    app.finish().await;
}

#[tokio::test]
async fn buckets_are_those_of_the_asked_zone() {
    let app = with_link().await;
    for _ in 0..4 {
        visit(&app, "/spring", &[("User-Agent", IPHONE)]).await;
    }
    app.stats_become("spring", 4).await;
    for (query, offset, n_buckets) in [
        ("interval=day&timezone=America/New_York", "00:00-0", 30..=30),
        ("interval=day&timezone=Asia/Kolkata", "T00:00:00+05:30", 30..=30),
        ("interval=hour&timezone=Asia/Kathmandu", "00:00+05:45", 697..=720),
        ("interval=minute&timezone=Europe/Berlin", ":00+0", 1_441..=1_441),
        ("interval=week", "T00:00:00Z", 5..=6),
        ("interval=month&timezone=Pacific/Auckland", "-01T00:00:00+1", 1..=3),
    ] {
        let all = stats(&app, &format!("/links/spring/stats?{query}")).await;
        let series = &all["timeseries"];
        assert_eq!(all["summary"]["clicks"], 4, "{query}");
        assert_eq!(sum(series, "clicks"), 4, "{query}");
        assert!(sum(series, "unique_visitors") <= 2, "{query}");
        let starts: Vec<&str> = series
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|at| at["start"].as_str())
            .collect();
        assert!(n_buckets.contains(&starts.len()), "{query}: {}", starts.len());
        assert!(starts.iter().all(|start| start.contains(offset)), "{query}: {}", starts[0]);
        let last = &series[starts.len() - 1];
        let before = &series[starts.len() - 2];
        let late = last["clicks"].as_u64().expect("n") + before["clicks"].as_u64().expect("n");
        assert!(late == 4 || query.contains("minute"), "{query}: {last}");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_not_a_question_about_clicks_is_refused_by_name() {
    let app = with_link().await;
    for (query, pointer, code) in [
        ("from=2026-02-01&to=2026-01-01", "?from", "contradiction"),
        ("from=2199-01-01", "?from", "out_of_range"),
        ("from=1970-01-01", "?from", "out_of_range"),
        ("from=1900-01-01", "?from", "out_of_range"),
        ("from=yesterday", "?from", "invalid_time"),
        ("to=2026-02-30", "?to", "invalid_time"),
        ("from=", "?from", "invalid_time"),
        ("from=2026-01-01&from=2026-01-02", "?from", "too_many"),
        ("timezone=Mars/Olympus", "?timezone", "invalid_value"),
        ("interval=fortnight", "?interval", "invalid_value"),
        ("interval=minute&from=2026-01-01&to=2026-02-01", "?interval", "out_of_range"),
        ("bots=maybe", "?bots", "invalid_value"),
        ("top=0", "?top", "out_of_range"),
        ("top=101", "?top", "out_of_range"),
        ("top=ten", "?top", "out_of_range"),
        ("intervall=day", "?intervall", "unknown_field"),
    ] {
        for path in ["/links/spring/stats", "/stats"] {
            let answer = app.api(Method::GET, &format!("{path}?{query}"), None).await;
            let problem = answer.assert_problem(400, "invalid_request").json();
            let errors = &problem["errors"];
            assert_eq!(errors[0]["pointer"], pointer, "{path}?{query}: {errors}");
            assert_eq!(errors[0]["code"], code, "{path}?{query}: {errors}");
        }
    }
    let tag = app.api(Method::GET, "/links/spring/stats?tag=a", None).await;
    tag.assert_problem(400, "invalid_request");
    app.api(Method::GET, "/links/nowhere/stats", None).await.assert_problem(404, "not_found");
    app.api(Method::DELETE, "/links/spring", None).await.assert_status(204);
    app.api(Method::GET, "/links/spring/stats", None).await.assert_problem(404, "not_found");
    app.finish().await;
}

#[tokio::test]
async fn top_lists_are_as_long_as_asked_and_ordered() {
    let app = with_link().await;
    for (source, n) in [("b", 2), ("a", 2), ("c", 3), ("d", 1)] {
        for _ in 0..n {
            visit(&app, &format!("/spring?utm_source={source}"), &[]).await;
        }
    }
    app.stats_become("spring", 8).await;
    let top = stats(&app, "/links/spring/stats?top=3").await;
    assert_eq!(rows(&top["utm_sources"]), [("c", 3), ("a", 2), ("b", 2)]);
    assert_eq!(top["utm_sources"][0]["share"], 0.375);
    app.finish().await;
}

#[tokio::test]
async fn nothing_but_the_click_is_kept_of_who_asks_for_privacy() {
    let app = with_link().await;
    for signal in ["DNT", "Sec-GPC"] {
        let referrer = ("Referer", "https://news.example/");
        visit(&app, "/spring?utm_source=mail", &[(signal, "1"), ("User-Agent", IPHONE), referrer])
            .await;
    }
    app.stats_become("spring", 2).await;
    let all = stats(&app, "/links/spring/stats").await;
    let summary = &all["summary"];
    assert_eq!((&summary["clicks"], &summary["unique_visitors"]), (&json!(2), &json!(0)));
    for list in ["devices", "os", "browsers", "referrers", "utm_sources", "languages"] {
        assert_eq!(all[list], json!([]), "{list}");
    }
    assert_eq!(rows(&all["destinations"]), [("https://shop.example/", 2)]);
    app.finish().await;
}

#[tokio::test]
async fn clicks_stay_with_the_destination_that_they_led_to() {
    let app = with_link().await;
    visit(&app, "/spring", &[]).await;
    let summer = json!({"destination": "https://summer.example/"});
    app.api(Method::PATCH, "/links/spring", Some(summer)).await.assert_status(200);
    for _ in 0..2 {
        visit(&app, "/spring", &[]).await;
    }
    app.stats_become("spring", 3).await;
    let expected = [("https://summer.example/", 2), ("https://shop.example/", 1)];
    for path in ["/links/spring/stats", "/stats"] {
        assert_eq!(rows(&stats(&app, path).await["destinations"]), expected, "{path}");
    }
    app.api(Method::POST, "/links/spring/reset-clicks", None).await.assert_status(204);
    for path in ["/links/spring/stats", "/stats"] {
        let reset = stats(&app, path).await;
        assert_eq!((&reset["summary"]["clicks"], &reset["destinations"]), (&json!(0), &json!([])));
    }
    app.finish().await;
}

#[tokio::test]
async fn the_links_of_a_workspace_are_counted_together_or_by_tag_and_domain() {
    let app = TestApp::start().await;
    for (alias, tags, n) in [("one", vec!["a"], 1), ("two", vec!["a", "b"], 2), ("gone", vec![], 4)]
    {
        let to = format!("https://{alias}.example/");
        let body = json!({"destination": to, "alias": alias, "tags": tags});
        app.create(body).await;
        for _ in 0..n {
            visit(&app, &format!("/{alias}"), &[("User-Agent", IPHONE)]).await;
        }
        app.stats_become(alias, n).await;
    }
    app.api(Method::PATCH, "/links/one", Some(json!({"status": "disabled"})))
        .await
        .assert_status(200);
    app.api(Method::DELETE, "/links/gone", None).await.assert_status(204);

    let all = stats(&app, "/stats").await;
    assert_eq!(
        (&all["summary"]["clicks"], &all["summary"]["unique_visitors"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(all["links"], json!({"total": 2, "active": 1, "created_this_month": 2}));
    let tops: Vec<(&str, &Value)> = all["top_links"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|top| (top["code"].as_str().expect("a code"), &top["share"]))
        .collect();
    assert_eq!(tops, [("two", &json!(0.286)), ("one", &json!(0.143))]);
    assert_eq!(all["top_links"][0]["short_url"], format!("{}/two", app.url));
    assert_eq!(rows(&all["devices"]), [("mobile", 7)]);
    for (query, clicks, links) in [
        ("tag=a", 3, 2),
        ("tag=b", 2, 1),
        ("tag=never", 0, 0),
        ("domain=127.0.0.1", 7, 2),
        ("domain=other.example", 0, 0),
        ("tag=b&domain=127.0.0.1", 2, 1),
    ] {
        let some = stats(&app, &format!("/stats?{query}")).await;
        assert_eq!(some["summary"]["clicks"], clicks, "{query}");
        assert_eq!(some["links"]["total"], links, "{query}");
        assert_eq!(some["timeseries"].as_array().map(Vec::len), Some(30), "{query}");
    }
    app.finish().await;
}

#[tokio::test]
async fn statistics_are_for_keys_that_may_read_them() {
    let app = with_link().await;
    let make = |scope: &str| json!({"name": scope, "scopes": [scope]});
    let key = async |scope: &str| -> String {
        let made = app.api(Method::POST, "/api-keys", Some(make(scope))).await.json();
        made["key"].as_str().expect("a key").to_owned()
    };
    let (links, statistics) = (key("links:read").await, key("stats:read").await);
    for path in ["/links/spring/stats", "/stats", "/links/spring/clicks", "/links/spring/live"] {
        let ask = |key: &str| {
            app.send(app.request(Method::HEAD, &format!("/api/v1{path}")).bearer_auth(key))
        };
        assert_eq!(
            (ask(&links).await.status(), ask(&statistics).await.status()),
            (403, 200),
            "{path}"
        );
        let request = app.request(Method::GET, &format!("/api/v1{path}")).bearer_auth(&links);
        app.send(request).await.assert_problem(403, "insufficient_scope");
        app.get(&format!("/api/v1{path}")).await.assert_problem(401, "unauthenticated");
    }
    app.finish().await;
}
