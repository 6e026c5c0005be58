//! `shunt verify` on a database that nodes work on.

use serde_json::json;

use crate::cluster::{Shared, finish, installation_alone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_read_while_it_is_served_and_a_changed_audit_entry_is_named() {
    let installation = installation_alone().await;
    let node = installation.node(&Shared::database()).await;
    let link = node.create(json!({"destination": "https://shop.example/whole"})).await;
    let code = link["code"].as_str().unwrap();
    node.get(&format!("/{code}")).await.assert_found("https://shop.example/whole");
    node.stats_become(code, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let verify = async || {
        let output = installation.command(folder.path(), &["verify"]).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };

    let (exit, said) = verify().await;
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.ends_with("everything is whole\n"), "{said}");
    for kind in ["links", "audit_log", "click_totals"] {
        let line = said.lines().find(|line| line.split(' ').next() == Some(kind)).unwrap();
        assert!(!line.ends_with(" 0"), "{line}");
    }

    let session = installation.session().await;
    let rows = session.query_unpaged("SELECT body FROM audit_log WHERE bucket = 0 AND seq = 1", ());
    let (body,): (Vec<u8>,) = rows.await.unwrap().into_rows_result().unwrap().single_row().unwrap();
    let put = async |body: &[u8]| {
        let statement = "UPDATE audit_log SET body = ? WHERE bucket = 0 AND seq = 1";
        session.query_unpaged(statement, (body,)).await.unwrap();
    };
    put(&[body.as_slice(), b"!"].concat()).await;
    let (exit, said) = verify().await;
    put(&body).await;
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("entry 1 of the audit log"), "{said}");
    let (exit, said) = verify().await;
    assert_eq!(exit, Some(0), "{said}");

    for words in [&["verify", "--repair"][..], &["backup", "copy"], &["restore", "copy"]] {
        let refused = installation.command(folder.path(), words).await;
        assert_eq!(refused.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("storage.cql"), "{words:?}");
    }
    finish([node]).await;
}
