//! What somebody meets who runs the program for the first time, or from a script.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{TestApp, shunt};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shunt"));
    command.args(arguments).current_dir(folder);
    command.env("SHUNT_HTTP__LISTEN", "127.0.0.1:0").env("SHUNT_OPS__LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn with_input(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().expect("the binary runs");
    let mut pipe = child.stdin.take().expect("piped");
    // A command that refuses need not have read it.
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn variables_that_are_no_settings_are_left_alone_and_mistyped_ones_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |name: &str, value: &str| {
        let mut command = command(folder.path(), &["check-config"]);
        command.env(name, value).output().expect("the binary runs").status.code()
    };
    for (name, value) in [
        ("SHUNT_KEY", "shunt_x"),
        ("SHUNT_CONFIG", ""),
        ("SHUNT_PORT", "tcp://10.0.0.1:8080"),
        ("SHUNT_OPS_SERVICE_HOST", "10.0.0.1"),
        ("SHUNT_SERVICE_PORT_HTTP", "8080"),
        ("SHUNT_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ] {
        assert_eq!(check(name, value), Some(0), "{name}={value}");
    }
    for name in ["SHUNT_HTTP_PORT", "SHUNT_HTTP_LISTEN", "SHUNT_PORT"] {
        assert_eq!(check(name, "8080"), Some(2), "{name}");
    }
}

#[test]
fn settings_of_a_cql_store_are_known_and_its_password_is_not_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shunt.toml");
    let written = "[storage]\nkeyspace = \"links\"\ncql_user = \"shunt\"\n\
                   cql_password = \"hunter2\"\nreplication = { dc1 = 3 }\n";
    std::fs::write(&file, written).expect("a file");
    let output = command(folder.path(), &["print-config"]).output().expect("the binary runs");
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(printed.contains("\"links\"") && printed.contains("dc1 = 3"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn an_empty_variable_is_none_and_one_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().expect("a folder");
    let check = |name: &str, value: &[u8]| {
        let value = std::ffi::OsStr::from_bytes(value);
        let output = command(folder.path(), &["check-config"]).env(name, value).output();
        let output = output.expect("the binary runs");
        (output.status.code(), text(&output.stderr))
    };
    for name in ["SHUNT_REDIS__URL", "SHUNT_HTTP__LISTEN", "SHUNT_STORAGE__CQL"] {
        assert_eq!(check(name, b"").0, Some(0), "{name}");
    }
    let (code, said) = check("SHUNT_LOG__LEVEL", b"inf\xff");
    assert!(code == Some(2) && said.contains("`SHUNT_LOG__LEVEL`"), "{said}");
}

#[test]
fn a_first_start_that_cannot_listen_shows_its_key_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for name in ["SHUNT_HTTP__LISTEN", "SHUNT_OPS__LISTEN"] {
        let mut serve = command(folder.path(), &["serve"]);
        serve.env(name, &address).env("SHUNT_STORAGE__PATH", name);
        let output = serve.output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).starts_with("owner API key: shunt_"), "the key is lost");
        assert!(text(&output.stderr).contains(&address), "{}", text(&output.stderr));
    }
}

#[test]
fn a_server_that_is_told_to_stop_while_it_gets_ready_ends_in_good_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = command(folder.path(), &[]).spawn().expect("the binary runs");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    output.read_line(&mut line).expect("the owner key");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn an_import_to_a_server_that_is_not_there_ends_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{free}");
    let import = ["links", "import", "-", "--url", &url, "--key", "k"];
    let output = with_input(command(folder.path(), &import), "destination\nhttps://a.example/\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("check `--url`"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn with_a_key_an_import_finds_the_server_that_holds_the_store() {
    let app = TestApp::start().await;
    let import = |key: Option<&str>| {
        let mut import = command(app.folder(), &["links", "import", "-"]);
        import.env("SHUNT_STORAGE__PATH", app.data());
        import.env("SHUNT_HTTP__LISTEN", app.url.trim_start_matches("http://"));
        import.envs(key.map(|key| ("SHUNT_KEY", key)));
        with_input(import, "code,destination\nx1,https://shop.example/1\n")
    };
    let without = import(None);
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("SHUNT_KEY"), "{}", text(&without.stderr));
    let output = import(Some(&app.key));
    assert!(output.status.success(), "{}", text(&output.stderr));
    app.get("/x1").await.assert_found("https://shop.example/1");
    app.finish().await;
}

#[tokio::test]
async fn a_key_made_beside_a_running_server_works_at_once() {
    let app = TestApp::start().await;
    for name in ["one", "two", "three"] {
        let made = shunt(&app.data(), &["keys", "create", "--name", name]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let key = text(&made.stdout).trim().to_owned();
        let list = app.request(Method::GET, "/api/v1/links").bearer_auth(key);
        app.send(list).await.assert_status(200);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_heard_out_and_told() {
    let app = TestApp::start().await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    let length = 8 * 1_024 * 1_024 + 1;
    let head = format!(
        "POST /api/v1/links/bulk HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        app.key,
    );
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    stream.write_all(&vec![b' '; length]).await.expect("the whole body is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    app.finish().await;
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_told_what_the_path_takes() {
    let app = TestApp::start().await;
    let method = || Method::from_bytes(b"PROPFIND").expect("a method");
    for (path, takes) in [
        ("/links", "GET, HEAD, POST"),
        ("/links/spring", "GET, HEAD, PATCH, DELETE"),
        ("/links/bulk", "POST"),
    ] {
        let answer = app.api(method(), path, None).await;
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(takes), "{path}");
    }
    app.api(method(), "/nowhere", None).await.assert_problem(404, "not_found");
    app.finish().await;
}

#[tokio::test]
async fn the_operations_listener_speaks_http_properly() {
    let app = TestApp::start().await;
    let client = reqwest::Client::new();
    let ask = |method: Method, path: &str| client.request(method, format!("{}{path}", app.ops));
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/debug/actors"] {
        let head = app.send(ask(Method::HEAD, path)).await;
        assert_eq!((head.status(), head.body()), (200, &b""[..]), "{path}");
        assert!(head.header("referrer-policy").is_some(), "{path}");
        let posted = app.send(ask(Method::POST, path)).await;
        posted.assert_problem(405, "method_not_allowed");
        assert_eq!(posted.header("allow"), Some("GET, HEAD"), "{path}");
    }
    app.send(ask(Method::GET, "/nowhere")).await.assert_problem(404, "not_found");

    let plain = app.ops_get("/metrics").await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.text().contains("# TYPE shunt_redirects_total counter\n"));
    let open = ask(Method::GET, "/metrics").header("Accept", "application/openmetrics-text");
    assert!(app.send(open).await.text().ends_with("# EOF\n"));
    app.finish().await;
}

#[test]
fn migrate_is_a_first_start_once_and_csv_is_the_common_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str], input: &str| {
        let output = with_input(command(folder.path(), arguments), input);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let first = run(&["migrate"], "");
    assert!(first.starts_with("owner API key: shunt_") && first.lines().count() == 1, "{first}");
    assert_eq!(run(&["migrate"], ""), "");

    let rows = "alias,destination,expires_in\nspring,https://shop.example/,3600\n";
    run(&["links", "import", "-"], rows);
    let exported = run(&["links", "export", "-"], "");
    let mut lines = exported.lines();
    assert!(lines.next().is_some_and(|header| header.starts_with("code,")), "{exported}");
    let row = lines.next().unwrap_or_default();
    assert!(row.starts_with("spring,") && row.contains("Z,"), "it does not expire: {row}");
}

#[test]
fn commands_without_a_store_say_how_to_get_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    for arguments in [&["keys", "list"][..], &["links", "export", "-"]] {
        let output = shunt(&data, arguments);
        assert_eq!(output.status.code(), Some(1));
        let words = text(&output.stderr);
        assert!(words.contains("no store") && words.contains("shunt serve"), "{words}");
    }
    assert!(!data.exists(), "reading made a store");
}
