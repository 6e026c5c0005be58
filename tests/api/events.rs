//! Single clicks, as pages and as CSV.

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestApp;
use crate::stats::{GOOGLEBOT, IPHONE, visit, with_link};

async fn clicks(app: &TestApp, query: &str) -> Value {
    let path = format!("/links/spring/clicks{query}");
    app.api(Method::GET, &path, None).await.assert_status(200).json()
}

#[tokio::test]
async fn a_click_tells_what_is_known_of_it() {
    let app = with_link().await;
    let headers = [
        ("User-Agent", IPHONE),
        ("Referer", "https://www.news.example/today?id=1#top"),
        ("Accept-Language", "fr-CH, en;q=0.8"),
        ("Sec-Purpose", "prefetch"),
    ];
    visit(&app, "/spring?qr=1&utm_source=mail&utm_term=a%20b", &headers).await;
    visit(&app, "/spring?utm_source=mail", &[("DNT", "1"), ("User-Agent", IPHONE)]).await;
    app.send(app.request(Method::HEAD, "/spring")).await.assert_status(302);
    let page = app.api_becomes("/links/spring/clicks", "/total", &json!(2)).await;
    assert_eq!(page["next_cursor"], Value::Null);
    // Clicks of one millisecond come in any order.
    let newest = usize::from(page["data"][0]["qr"] == true);
    let mut told = page["data"][1 - newest].clone();
    let fields = ["id", "at", "visitor"].map(|field| told[field].take());
    assert!(fields.iter().all(Value::is_string), "{fields:?}");
    assert_eq!(fields[2].as_str().map(str::len), Some(16), "{}", fields[2]);
    assert_eq!(
        told,
        json!({
            "id": null, "at": null, "visitor": null,
            "country": null, "region": null, "city": null, "continent": null,
            "device": "mobile", "os": "iOS", "browser": "Mobile Safari",
            "referrer": "https://www.news.example/today?id=1", "referrer_domain": "news.example",
            "utm": {
                "source": "mail", "medium": null, "campaign": null, "term": "a b", "content": null,
            },
            "language": "fr", "destination": "https://shop.example/", "rule": null,
            "bot": false, "qr": true, "prefetch": true,
        })
    );
    let private = &page["data"][newest];
    for field in ["visitor", "device", "os", "browser", "utm", "language"] {
        assert_eq!(private[field], Value::Null, "{field}");
    }
    app.finish().await;
}

#[tokio::test]
async fn pages_follow_one_another_and_a_cursor_fits_its_list_only() {
    let app = with_link().await;
    app.create(json!({"destination": "https://other.example/", "alias": "other"})).await;
    for n in 0..7 {
        visit(&app, &format!("/spring?utm_source={n}"), &[]).await;
    }
    visit(&app, "/other", &[]).await;
    app.stats_become("spring", 7).await;
    let (mut seen, mut ids, mut cursor) = (Vec::new(), Vec::<u64>::new(), String::new());
    let first = clicks(&app, "?limit=3").await["next_cursor"].clone();
    for n_rows in [3, 3, 1] {
        let page = clicks(&app, &format!("?limit=3{cursor}")).await;
        assert_eq!(page["total"], 7);
        let data = page["data"].as_array().expect("rows");
        assert_eq!(data.len(), n_rows);
        seen.extend(
            data.iter().filter_map(|click| click["utm"]["source"].as_str().map(str::to_owned)),
        );
        ids.extend(data.iter().filter_map(|click| click["id"].as_str()?.parse::<u64>().ok()));
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
    }
    assert_eq!(cursor, "&cursor=", "there is no fourth page");
    assert!(ids.is_sorted_by(|a, b| a > b), "the newest comes first: {ids:?}");
    // Those of one millisecond come in any order.
    seen.sort_unstable();
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "6"]);

    let first = first.as_str().expect("a cursor");
    visit(&app, "/spring", &[]).await;
    app.stats_become("spring", 8).await;
    let next = clicks(&app, &format!("?limit=3&cursor={first}")).await;
    assert_eq!(next["total"], 7, "as it was when the first page was read");
    assert_eq!(clicks(&app, "?limit=3").await["total"], 8);

    let mut forged = first.to_owned();
    forged.replace_range(0..1, if first.starts_with('0') { "1" } else { "0" });
    for path in [
        format!("/links/spring/clicks?cursor={forged}"),
        format!("/links/other/clicks?cursor={first}"),
        format!("/links/spring/clicks?bots=only&cursor={first}"),
        format!("/links/spring/clicks?from=2026-01-01&cursor={first}"),
        format!("/links?cursor={first}"),
    ] {
        app.api(Method::GET, &path, None).await.assert_problem(400, "invalid_cursor");
    }
    for query in ["limit=0", "limit=101", "bots=x", "format=xml", "interval=x", "page=2", "from=x"]
    {
        let answer = app.api(Method::GET, &format!("/links/spring/clicks?{query}"), None).await;
        answer.assert_problem(400, "invalid_request");
    }
    app.finish().await;
}

#[tokio::test]
async fn bots_and_times_choose_clicks() {
    let app = with_link().await;
    for user_agent in [IPHONE, GOOGLEBOT, GOOGLEBOT] {
        visit(&app, "/spring", &[("User-Agent", user_agent)]).await;
    }
    app.api_becomes("/links/spring/clicks", "/total", &json!(3)).await;
    for (query, n, bots) in [
        ("bots=only", 2, vec![true, true]),
        ("bots=exclude", 1, vec![false]),
        ("from=2026-01-01&to=2026-01-02", 0, vec![]),
    ] {
        let page = clicks(&app, &format!("?{query}")).await;
        assert_eq!(page["total"], n, "{query}");
        let told: Vec<bool> = page["data"]
            .as_array()
            .expect("rows")
            .iter()
            .filter_map(|click| click["bot"].as_bool())
            .collect();
        assert_eq!(told, bots, "{query}");
    }
    app.finish().await;
}

/// Lines of a CSV by the names of its columns.
fn read_csv(body: &[u8]) -> Vec<Value> {
    let mut reader = csv::Reader::from_reader(body);
    let header = reader.headers().expect("a header").clone();
    let rows = reader.records().map(|row| {
        let row = row.expect("a whole line");
        header.iter().zip(row.iter()).map(|(name, cell)| (name.to_owned(), json!(cell))).collect()
    });
    rows.collect()
}

#[tokio::test]
async fn a_csv_tells_the_same_and_nothing_in_it_is_run() {
    let app = with_link().await;
    let formula =
        "/spring?utm_source=%3D1%2B1&utm_medium=%22%2Ba%22&utm_campaign=a,%22b%22&utm_term=%40x";
    visit(&app, formula, &[("User-Agent", IPHONE), ("Referer", "=cmd|' /C calc'!A0")]).await;
    let summer = json!({"destination": "https://summer.example/"});
    app.api(Method::PATCH, "/links/spring", Some(summer)).await.assert_status(200);
    visit(&app, "/spring", &[]).await;
    let page = app.api_becomes("/links/spring/clicks", "/total", &json!(2)).await;

    let csv = app.api(Method::GET, "/links/spring/clicks?format=csv", None).await;
    assert_eq!(
        csv.assert_status(200).header("content-disposition"),
        Some("attachment; filename=\"clicks-spring.csv\"")
    );
    assert!(csv.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")));
    let accepting = app.request(Method::GET, "/api/v1/links/spring/clicks").bearer_auth(&app.key);
    let accepting = app.send(accepting.header("Accept", "text/csv")).await;
    assert_eq!(accepting.body(), csv.body());
    let rows = read_csv(csv.body());
    assert_eq!(rows.len(), 2);
    for (row, click) in rows.iter().zip(page["data"].as_array().expect("rows")) {
        for field in ["id", "at", "destination"] {
            assert_eq!(row[field], click[field]);
        }
        assert_eq!(row["visitor"], click["visitor"]);
        assert_eq!(row["bot"], "false");
    }
    assert_eq!(rows[0]["destination"], "https://summer.example/");
    assert_eq!((&rows[0]["utm_source"], &rows[0]["country"]), (&json!(""), &json!("")));
    let [source, medium, campaign, term, referrer] =
        ["utm_source", "utm_medium", "utm_campaign", "utm_term", "referrer"]
            .map(|name| &rows[1][name]);
    assert_eq!((source, medium), (&json!("'=1+1"), &json!("'\"+a\"")));
    assert_eq!((campaign, term), (&json!("a,\"b\""), &json!("'@x")));
    assert_eq!(referrer, "'=cmd|' /C calc'!A0");
    for query in ["format=csv&limit=1", "format=csv&cursor=x"] {
        let answer = app.api(Method::GET, &format!("/links/spring/clicks?{query}"), None).await;
        answer.assert_problem(400, "invalid_request");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_long_csv_arrives_whole_and_the_connection_goes_on() {
    const N: usize = 5_000;
    let app =
        TestApp::builder().set("SHUNT_CLICKS__EVENTS_PER_LINK_MINUTE", "100000").start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    let visits = futures_util::stream::iter(0..N).map(|n| {
        let app = &app;
        async move { app.get(&format!("/spring?utm_source={n}")).await.status() }
    });
    let answers: Vec<u16> = visits.buffer_unordered(32).collect().await;
    assert!(answers.iter().all(|status| *status == 302));
    app.stats_become("spring", N as u64).await;

    let csv = app.api(Method::GET, "/links/spring/clicks?format=csv", None).await;
    let rows = read_csv(csv.assert_status(200).body());
    let mut sources: Vec<usize> =
        rows.iter().filter_map(|row| row["utm_source"].as_str()?.parse().ok()).collect();
    sources.sort_unstable();
    assert_eq!(sources, (0..N).collect::<Vec<_>>());
    let ids: Vec<u64> = rows.iter().filter_map(|row| row["id"].as_str()?.parse().ok()).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "the newest comes first");

    // In one pipeline, and for clients who know no chunks.
    let host = app.url.trim_start_matches("http://");
    let head = format!("Host: {host}\r\nAuthorization: Bearer {}\r\n", app.key);
    let csv_path = "/api/v1/links/spring/clicks?format=csv";
    for (requests, n_answers) in [
        (
            format!(
                "GET {csv_path} HTTP/1.1\r\n{head}\r\nHEAD {csv_path} HTTP/1.1\r\n{head}\r\n\
            GET /health HTTP/1.1\r\nConnection: close\r\n{head}\r\n"
            ),
            3,
        ),
        (format!("GET {csv_path} HTTP/1.0\r\nConnection: keep-alive\r\n{head}\r\n"), 1),
    ] {
        let mut stream = TcpStream::connect(host).await.expect("a connection");
        stream.write_all(requests.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("closed in good order");
        assert_eq!(text.matches(" 200 OK\r\n").count(), n_answers, "{text:.500}");
        assert_eq!(text.matches("https://shop.example/").count(), N);
        assert!(text.ends_with("}") || n_answers == 1, "the last answer is whole");
    }
    app.finish().await;
}
