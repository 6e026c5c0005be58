//! A real mail server, which tests include by path: `tests/mail/server.js`, run by Node.
#![allow(dead_code, reason = "each of its users needs another part")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

/// How long a test waits for a mail, or for the server.
const MAIL_WAIT_MAX: Duration = Duration::from_secs(30);
const FILES: [&str; 5] =
    ["package.json", "package-lock.json", "server.js", "key.pem", "certificate.pem"];

/// Takes every mail, but for recipients `busy-<n>@…` (451 so many times) and `refused@…` (550).
pub(crate) struct SmtpServer {
    child: Child,
    port: u16,
    builder: Builder,
    lines: mpsc::UnboundedReceiver<String>,
}

/// What the server is like.
#[derive(Clone, Default)]
pub(crate) struct Builder {
    login: Option<(String, String)>,
    starttls: bool,
    port: u16,
}

/// A mail as another program understood it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReceivedMail {
    /// Recipients of the envelope.
    pub(crate) to: Vec<String>,
    /// Sender of the envelope.
    pub(crate) from: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// Whole header lines by name in lower case; of equal names, the last.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) n_headers: usize,
    pub(crate) n_attachments: usize,
    pub(crate) html: bool,
    /// Who logged in.
    pub(crate) user: Option<String>,
    /// Whether the connection was encrypted.
    pub(crate) secure: bool,
}

#[derive(Deserialize)]
struct Listening {
    port: u16,
}

impl Builder {
    /// Whoever sends must log in. Letters and digits only.
    pub(crate) fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Offers STARTTLS, with a certificate that `SmtpServer::ca_file` vouches for.
    pub(crate) fn starttls(mut self) -> Self {
        self.starttls = true;
        self
    }

    /// Listens where another one did.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub(crate) async fn start(self) -> SmtpServer {
        let (user, password) = self.login.clone().unzip();
        let options = json!({
            "port": self.port, "user": user, "password": password, "starttls": self.starttls,
        });
        let mut options = options.as_object().expect("an object").clone();
        options.retain(|_, value| !value.is_null());
        let folder = tokio::task::spawn_blocking(installed).await.expect("npm installs");
        let mut child = Command::new("node")
            .arg(folder.join("server.js"))
            .arg(serde_json::to_string(&options).expect("options are JSON"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts; scripts/test installs it");
        let (said, lines) = mpsc::unbounded_channel();
        let output = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        let mut server = SmtpServer { child, port: 0, builder: self, lines };
        let line = server.next_line().await.expect("the mail server starts");
        let Listening { port } = serde_json::from_str(&line).expect("its first line is its port");
        server.port = port;
        server
    }
}

impl SmtpServer {
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// What `mail.url` is set to.
    pub(crate) fn url(&self) -> String {
        let login = self.builder.login.as_ref();
        let login = login.map_or(String::new(), |(user, word)| format!("{user}:{word}@"));
        let tls = if self.builder.starttls { "?tls=required" } else { "" };
        format!("smtp://{login}127.0.0.1:{}{tls}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What `mail.ca_file` is set to where the server offers STARTTLS.
    pub(crate) fn ca_file() -> PathBuf {
        sources().join("certificate.pem")
    }

    /// The next mail that was taken; fails if none comes.
    pub(crate) async fn next_mail(&mut self) -> ReceivedMail {
        let line = self.next_line().await.expect("a mail arrives");
        serde_json::from_str(&line).expect("a mail is told as JSON")
    }

    /// Mails that have arrived and were not looked at.
    pub(crate) fn n_unread(&self) -> usize {
        self.lines.len()
    }

    /// Ends it; `start` of the answer has it come back where it was.
    pub(crate) fn stop(self) -> Builder {
        // Ends the process with it.
        self.builder.clone().port(self.port)
    }

    async fn next_line(&mut self) -> Option<String> {
        tokio::time::timeout(MAIL_WAIT_MAX, self.lines.recv()).await.ok().flatten()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ReceivedMail {
    /// The link in it.
    #[track_caller]
    pub(crate) fn link(&self) -> &str {
        let link = self.text.lines().find(|line| line.starts_with("http"));
        link.unwrap_or_else(|| panic!("no link in:\n{}", self.text))
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail")
}

/// The server and its packages, installed below the target folder once per state of its sources,
/// whoever comes first.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mail");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let lock = File::create(folder.join("lock")).expect("the target folder is writable");
    lock.lock().expect("a file can be locked");
    let changed = FILES.into_iter().filter(|name| {
        let read = |folder: &Path| std::fs::read(folder.join(name)).ok();
        read(&sources()) != read(&folder)
    });
    let changed: Vec<&str> = changed.collect();
    // The packages go first and come back last: half an installation is none.
    let packages = folder.join("node_modules");
    if changed.iter().any(|name| name.starts_with("package")) {
        let _ = std::fs::remove_dir_all(&packages);
    }
    for name in changed {
        // Another process may be reading the old one.
        let (new, old) = (folder.join(format!("{name}.new")), folder.join(name));
        std::fs::copy(sources().join(name), &new).expect("sources can be copied");
        std::fs::rename(new, old).expect("copies can be renamed");
    }
    if !packages.join(".package-lock.json").exists() {
        let status = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--loglevel", "error"])
            .current_dir(&folder)
            .status()
            .expect("npm runs; scripts/test installs it");
        assert!(status.success(), "npm ci failed in {}", folder.display());
    }
    folder
}
