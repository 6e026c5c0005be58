//! Many callers who do the same at the same time.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn no_change_fails_because_of_others() {
    let app = TestApp::start().await;
    app.create(json!({"destination": "https://shop.example/", "alias": "busy"})).await;
    let changes = (0..50).map(async |n| {
        let title = Some(json!({"title": format!("Title {n}")}));
        let answer = app.api(Method::PATCH, "/links/busy", title).await;
        answer.assert_status(200).json()["version"].as_u64()
    });
    let versions: BTreeSet<_> = join_all(changes).await.into_iter().flatten().collect();
    assert_eq!(versions, (2..=51).collect());

    let mixed = (0..30).map(async |n| {
        if n == 15 {
            return app.api(Method::DELETE, "/links/busy", None).await.status();
        }
        let title = Some(json!({"title": format!("Again {n}")}));
        app.api(Method::PATCH, "/links/busy", title).await.status()
    });
    let answers = join_all(mixed).await;
    assert_eq!(answers.iter().filter(|status| **status == 204).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|status| matches!(status, 200 | 204 | 404)), "{answers:?}");
    app.finish().await;
}
