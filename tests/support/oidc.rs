//! A real OpenID Connect provider, `tests/oidc/provider.js`, started for a test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The site whose callbacks the provider knows. Nobody answers there; see `Browser::stands_for`.
pub(crate) const SITE: &str = "https://shunt.test";
/// The audience that the provider makes access tokens for.
pub(crate) const API_AUDIENCE: &str = "https://shunt.test/api";

/// The provider. Ends with the value.
pub(crate) struct RealProvider {
    pub(crate) issuer: String,
    child: Child,
}

impl RealProvider {
    /// Starts one that sends browsers back to the callbacks of the providers `ids` of [`SITE`].
    pub(crate) fn start(ids: &[&str]) -> Self {
        let folder = installed();
        let callbacks = ids.iter().map(|id| format!("{SITE}/api/v1/auth/oidc/{id}/callback"));
        // The provider wants a newer Node than Debian has, and brings it along.
        let mut child = Command::new(folder.join("node_modules/.bin/node"))
            .arg(folder.join("provider.js"))
            .args(callbacks)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Node starts");
        let mut issuer = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut issuer).expect("the provider says where it is");
        let issuer = issuer.trim().to_owned();
        assert!(issuer.starts_with("http://127.0.0.1:"), "the provider did not start: {issuer:?}");
        Self { issuer, child }
    }

    /// An access token for [`API_AUDIENCE`], given to a program.
    pub(crate) async fn access_token(&self, audience: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", "api"), ("resource", audience)];
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = client
            .post(format!("{}/token", self.issuer))
            .basic_auth("robot", Some("robots+have+secrets"))
            .form(&form)
            .send()
            .await
            .expect("the provider answers");
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }
}

impl Drop for RealProvider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder with the provider and what it needs, fetched once for all tests.
fn installed() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc");
    fs::create_dir_all(&folder).expect("a folder below the target");
    // Tests of several processes may come here at the same time.
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");

    let wanted = fs::read(sources.join("package-lock.json")).expect("the lock file of npm");
    let done = folder.join("installed");
    if fs::read(&done).is_ok_and(|kept| kept == wanted) {
        copy(&sources, &folder, "provider.js");
        return folder;
    }
    for name in ["package.json", "package-lock.json", "provider.js"] {
        copy(&sources, &folder, name);
    }
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel", "error"])
        .current_dir(&folder)
        .status()
        .expect("`npm` starts; scripts/test installs it");
    assert!(status.success(), "npm could not fetch the provider: {status}");
    fs::write(&done, wanted).expect("a note that it is done");
    folder
}

/// Under another name first: another test may be reading it.
fn copy(sources: &Path, folder: &Path, name: &str) {
    let draft = folder.join(format!("{name}.new"));
    fs::copy(sources.join(name), &draft).expect("a copy");
    fs::rename(draft, folder.join(name)).expect("a copy in place");
}
