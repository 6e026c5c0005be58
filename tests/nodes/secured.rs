//! A database that asks for a login and a certificate, over TLS: what whoever has them may do, and
//! what the others are told.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use crate::cassandra::SecuredCassandra;
use crate::certificates::Authority;
use crate::cluster::{SOON, finish, visit};
use crate::harness::TestApp;
use crate::services::services;

const PASSWORD: &str = "p@ss'word/1";

/// What `docs/several-nodes.md` says that roles need, and two who have less.
const ROLES: [(&str, &[&str]); 5] = [
    ("shunt_migrate", &["CREATE", "ALTER", "SELECT", "MODIFY"]),
    ("shunt", &["SELECT", "MODIFY"]),
    ("reader", &["SELECT"]),
    ("nobody", &[]),
    // Of all keyspaces, see below.
    ("maker", &[]),
];

type Settings = Vec<(&'static str, String)>;

/// The owner's key of the installation on that database, which the first test makes.
async fn installed() -> (&'static SecuredCassandra, &'static str) {
    static KEY: OnceCell<String> = OnceCell::const_new();
    let server = tokio::task::block_in_place(SecuredCassandra::get);
    let key = KEY.get_or_init(async || {
        let session = server.session().await;
        let keyspace = "CREATE KEYSPACE shunt WITH replication = \
                        {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
        session.query_unpaged(keyspace, ()).await.unwrap();
        for (role, rights) in ROLES {
            let password = PASSWORD.replace('\'', "''");
            let create =
                format!("CREATE ROLE {role} WITH PASSWORD = '{password}' AND LOGIN = true");
            session.query_unpaged(create, ()).await.unwrap();
            for right in rights {
                let grant = format!("GRANT {right} ON KEYSPACE shunt TO {role}");
                session.query_unpaged(grant, ()).await.unwrap();
            }
        }
        let grant = "GRANT CREATE ON ALL KEYSPACES TO maker";
        session.query_unpaged(grant, ()).await.unwrap();
        let (code, said) = run("migrate", &settings(server, "shunt_migrate")).await;
        assert_eq!(code, Some(0), "{said}");
        let key = said.lines().find_map(|line| line.strip_prefix("owner API key: "));
        key.unwrap_or_else(|| panic!("{said}")).to_owned()
    });
    (server, key.await)
}

/// What `user` comes in with.
fn settings(server: &SecuredCassandra, user: &str) -> Settings {
    let (certificate, key) = &server.identity;
    let file = |path: &Path| path.display().to_string();
    vec![
        ("SHUNT_STORAGE__CQL", format!("[\"{}\"]", server.address)),
        ("SHUNT_STORAGE__CQL_USER", user.to_owned()),
        ("SHUNT_STORAGE__CQL_PASSWORD", PASSWORD.to_owned()),
        ("SHUNT_STORAGE__CQL_TLS", "true".to_owned()),
        ("SHUNT_STORAGE__CQL_CA_FILE", file(&server.authority.certificate())),
        ("SHUNT_STORAGE__CQL_CERTIFICATE_FILE", file(certificate)),
        ("SHUNT_STORAGE__CQL_KEY_FILE", file(key)),
        ("SHUNT_HTTP__PUBLIC_URL", "https://sho.rt".to_owned()),
        ("SHUNT_HTTP__LISTEN", "127.0.0.1:0".to_owned()),
        ("SHUNT_OPS__LISTEN", "127.0.0.1:0".to_owned()),
        // Processors that are busy with other tests are no reason to give up.
        ("SHUNT_LINKS__LOAD_WAIT_MAX", "5s".to_owned()),
    ]
}

/// The same without some, and with others.
fn but(settings: &Settings, without: &[&str], with: &[(&'static str, String)]) -> Settings {
    let is_kept = |name: &str| {
        let ends = |key: &&str| name.ends_with(&format!("__{key}"));
        !without.iter().any(ends) && with.iter().all(|(other, _)| *other != name)
    };
    let kept = settings.iter().filter(|(name, _)| is_kept(name)).cloned();
    kept.chain(with.iter().cloned()).collect()
}

/// Runs a command to its end, which must come; what it ended with and said.
async fn run(command: &'static str, settings: &Settings) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Command::new("timeout");
    process.args(["60", env!("CARGO_BIN_EXE_shunt"), command]).current_dir(folder.path());
    process.envs(settings.iter().map(|(name, text)| (name, text)));
    let output = tokio::task::spawn_blocking(move || process.output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Neither command gets far; both say why, and nobody says the password.
async fn is_refused(settings: &Settings, why: &str) {
    let commands = ["serve", "migrate"];
    let ended = join_all(commands.map(|command| run(command, settings))).await;
    for (command, (code, said)) in commands.into_iter().zip(ended) {
        assert_eq!(code, Some(1), "{command}: {said}");
        let last = said.lines().rfind(|line| line.starts_with("shunt: "));
        assert!(last.is_some_and(|line| line.contains(why)), "{command}: {why}, not {said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_with_the_documented_rights_serves_over_tls_also_when_its_password_changes() {
    let (server, key) = installed().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let builder = TestApp::builder().on(&folder, key);
    let settings = settings(server, "shunt");
    let set =
        |builder: crate::harness::Builder, (name, text): &(&str, String)| builder.set(name, text);
    let node = settings.iter().fold(builder, set).start().await;
    let create = async |alias: &str| {
        let body = json!({"alias": alias, "destination": "https://shop.example/"});
        node.api(Method::POST, "/links", Some(body)).await.assert_status(201);
        assert_eq!(visit(&node, alias).await.as_deref(), Some("https://shop.example/"));
    };
    create("before").await;
    let (session, begun) = (server.session().await, Instant::now());
    // It may be too soon for another one.
    let alter = "ALTER ROLE shunt WITH PASSWORD = 'another'";
    while let Err(error) = session.query_unpaged(alter, ()).await {
        assert!(begun.elapsed() < SOON, "{error}");
    }
    is_refused(&settings, "does not accept `storage.cql_user`").await;
    create("after").await;
    finish([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_make_keyspaces_needs_nothing_else_to_migrate() {
    let (server, _) = installed().await;
    let own = [
        ("SHUNT_STORAGE__KEYSPACE", "own".to_owned()),
        ("SHUNT_STORAGE__REPLICATION", "1".to_owned()),
    ];
    let (code, said) = run("migrate", &but(&settings(server, "maker"), &[], &own)).await;
    assert_eq!(code, Some(0), "{said}");
}

/// Another address of the same server, which its certificate is not for.
async fn elsewhere(server: &'static SecuredCassandra) -> String {
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&server.address).await.unwrap();
            tokio::spawn(async move {
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    address.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_node_out_is_told_by_the_setting_and_in_time() {
    let (server, _) = installed().await;
    let good = settings(server, "nobody");
    let set = |name, text: &str| but(&good, &[], &[(name, text.to_owned())]);
    let at = |address: &str| set("SHUNT_STORAGE__CQL", &format!("[\"{address}\"]"));
    // Connections are accepted by the system, and by nobody else.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = elsewhere(server).await;
    let stranger = Authority::new();
    let ca = stranger.certificate().display().to_string();
    let (certificate, key) = stranger.vouch_for("DNS:stranger.example");
    let strange = [
        ("SHUNT_STORAGE__CQL_CERTIFICATE_FILE", certificate.display().to_string()),
        ("SHUNT_STORAGE__CQL_KEY_FILE", key.display().to_string()),
    ];
    let tls = ["CQL_TLS", "CQL_CA_FILE", "CQL_CERTIFICATE_FILE", "CQL_KEY_FILE"];
    let cases = [
        (good.clone(), "has no SELECT permission"),
        (set("SHUNT_STORAGE__CQL_USER", "reader"), "has no MODIFY permission"),
        (set("SHUNT_STORAGE__CQL_PASSWORD", "wrong"), "does not accept `storage.cql_user`"),
        (set("SHUNT_STORAGE__CQL_USER", "stranger"), "does not accept `storage.cql_user`"),
        (but(&good, &["CQL_USER", "CQL_PASSWORD"], &[]), "`storage.cql_user` is unset"),
        (set("SHUNT_STORAGE__CQL_CA_FILE", &ca), "UnknownIssuer"),
        (at(&elsewhere), "certificate not valid for name \"127.0.0.2\""),
        (but(&good, &tls[2..], &[]), "`storage.cql_certificate_file` is unset"),
        (but(&good, &[], &strange), "does not accept `storage.cql_certificate_file`"),
        (at(&services().cql), "does not speak TLS"),
        (but(&good, &tls, &[]), "`storage.cql_tls` is off"),
        (at(&silent.local_addr().unwrap().to_string()), "answered for 20s"),
    ];
    join_all(cases.iter().map(|(settings, why)| is_refused(settings, why))).await;

    let nowhere = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nowhere")];
    let nowhere = nowhere.map(|(name, path)| (name, path.to_owned()));
    let (code, said) = run("serve", &but(&good, &["CQL_CA_FILE"], &nowhere)).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("`storage.cql_tls`: this system knows no authority"), "{said}");
}
