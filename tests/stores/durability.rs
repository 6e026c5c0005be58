//! What was answered is there: after a close, after a kill, in a backup, when the disk is full.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shunt::domain::click::SegmentId;
use shunt::domain::counted::SegmentClicks;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::domain::units::Size;
use shunt::storage::embedded::backup::backup;
use shunt::storage::embedded::restore::restore;
use shunt::storage::embedded::verify::verify;
use shunt::storage::embedded::{Embedded, EmbeddedConfig, Mode};
use shunt::storage::lock::StoreLock;
use shunt::storage::secrets::Secrets;
use shunt::storage::{Claim, StorageErrorKind, Stores};

use crate::make::{HOME, NOW, api_key, clicked, full_link, id, key, link, workspace};

fn open(path: &Path) -> Stores {
    Embedded::open(path, Mode::Create).unwrap().stores()
}

fn clicks(link: Id, from: u64, n: u32) -> Arc<Vec<SegmentClicks>> {
    let to = from + u64::from(n);
    Arc::new(vec![clicked(1, from, to, &[(link, NOW.minute(), n)])])
}

#[tokio::test]
async fn a_reopened_store_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let made = full_link("kept");
    {
        let stores = open(folder.path());
        stores.links.claim(vec![made.clone()], None).await.unwrap();
        stores.clicks.flush(clicks(made.id, 0, 3)).await.unwrap();
        stores.accounts.bootstrap(workspace(HOME), api_key(1, 1)).await.unwrap();
        stores.nodes.lease_block("codes", 10).await.unwrap();
    }
    let stores = open(folder.path());
    assert_eq!(stores.links.fetch(&made.key()).await.unwrap(), Some(made.clone()));
    assert_eq!(stores.clicks.totals(&[made.id]).await.unwrap()[0].clicks, 3);
    assert_eq!(stores.clicks.resume(SegmentId(1)).await.unwrap().covered, 3);
    let keys = stores.accounts.keys().await.unwrap();
    assert_eq!(keys.into_iter().map(|record| record.key).collect::<Vec<_>>(), [api_key(1, 1)]);
    assert_eq!(stores.nodes.lease_block("codes", 10).await.unwrap(), 10);
    assert_eq!(stores.links.count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_key_made_by_another_process_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (server, cli) = (open(folder.path()), open(folder.path()));
    server.accounts.bootstrap(workspace(HOME), api_key(1, 1)).await.unwrap();
    let before = server.accounts.keys_epoch().await.unwrap();
    cli.accounts.add_key(api_key(2, 2), None).await.unwrap();
    assert_ne!(server.accounts.keys_epoch().await.unwrap(), before);
    assert_eq!(server.accounts.keys().await.unwrap().len(), 2);
}

#[tokio::test]
async fn opening_what_is_not_there_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let error = Embedded::open(&absent, Mode::Existing).err().unwrap();
    assert_eq!(error.kind, StorageErrorKind::Unavailable);
    assert!(!absent.exists());
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
#[ignore = "run by `a_killed_process_loses_nothing_it_answered`"]
async fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var("SHUNT_TEST_STORE") else { return };
    let stores = open(Path::new(&path));
    let first = stores.links.count().await.unwrap();
    for n in first.. {
        let made = Link { id: Id(n + 1), ..link(&format!("code{n}")) };
        assert_eq!(stores.links.claim(vec![made], None).await.unwrap(), [Claim::Won]);
        stores.clicks.flush(clicks(Id(7), n, 1)).await.unwrap();
        writeln!(std::io::stdout(), "\nacknowledged {n}").unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durability::child_that_writes_until_it_is_killed"])
            .args(["--ignored", "--nocapture"])
            .env("SHUNT_TEST_STORE", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(n) = line.strip_prefix("acknowledged ") else { continue };
            last = n.parse::<u64>().unwrap();
            seen += 1;
            if seen == round * 17 {
                // SIGKILL. Lines that are still in the pipe count as answered, too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let stores = open(folder.path());
        for n in 0..=last {
            let code = format!("code{n}");
            assert!(stores.links.fetch(&key(&code)).await.unwrap().is_some(), "{code}");
        }
        let counted = stores.clicks.totals(&[Id(7)]).await.unwrap()[0].clicks;
        assert_eq!(counted, stores.clicks.resume(SegmentId(1)).await.unwrap().covered);
        assert!((last + 1..=last + 2).contains(&counted), "{counted} of {last}");
        // A flush whose answer was lost in the kill leaves the claim before it one ahead.
        for n in counted..stores.links.count().await.unwrap() {
            stores.clicks.flush(clicks(Id(7), n, 1)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_busy_store_is_one_moment_of_it() {
    let (home, vault) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Secrets::open_or_create(home.path()).unwrap();
    let stores = open(home.path());
    let made: Vec<Link> = (0..500).map(|n| link(&format!("before{n}"))).collect();
    stores.links.claim(made.clone(), None).await.unwrap();

    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let write = async {
        for n in 0.. {
            // A link and its click in two steps: never a click more than links.
            let more = link(&format!("during{n}"));
            stores.links.claim(vec![more.clone()], None).await.unwrap();
            stores.clicks.flush(clicks(Id(7), n, 1)).await.unwrap();
            written.store(n + 1, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let copy = vault.path().join("copy");
    let copied = async {
        while written.load(Ordering::Relaxed) < 5 {
            tokio::task::yield_now().await;
        }
        let (from, to) = (home.path().to_owned(), copy.clone());
        tokio::task::spawn_blocking(move || backup(&from, &to)).await.unwrap().unwrap();
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(write, copied);
    let again = backup(home.path(), &copy).unwrap_err();
    assert_eq!(again.kind, StorageErrorKind::Invalid, "a backup is not written over");

    let target = tempfile::tempdir().unwrap();
    restore(&copy, target.path(), false, NOW).unwrap();
    assert!(verify(target.path()).unwrap().is_sound());
    let restored = open(target.path());
    for link in &made {
        assert_eq!(restored.links.fetch(&link.key()).await.unwrap().as_ref(), Some(link));
    }
    let extra = restored.links.count().await.unwrap() - 500;
    let clicked = restored.clicks.totals(&[Id(7)]).await.unwrap()[0].clicks;
    assert!(extra >= 5 && (extra == clicked || extra == clicked + 1), "{extra}, {clicked}");
    let secrets = |path: &Path| Secrets::open(path).unwrap().api_keys;
    assert_eq!(secrets(home.path()), secrets(target.path()));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { size_max: Size::mib(1), ..EmbeddedConfig::default() };
    let stores = Embedded::open_with(folder.path(), Mode::Create, &config).unwrap().stores();
    let kept = link("kept");
    stores.links.claim(vec![kept.clone()], None).await.unwrap();
    let mut refused = None;
    for n in 0..2_000 {
        let large = Link { notes: "x".repeat(2_000), ..link(&format!("large{n}")) };
        if let Err(error) = stores.links.claim(vec![large], None).await {
            refused = Some((n, error));
            break;
        }
    }
    let (n, error) = refused.unwrap();
    assert_eq!(error.kind, StorageErrorKind::Full, "{error:?}");
    assert_eq!(stores.links.fetch(&kept.key()).await.unwrap(), Some(kept));
    assert_eq!(stores.links.count().await.unwrap(), n + 1, "what failed left nothing behind");
    let (id, stores) = (id(), stores.clone());
    assert_eq!(stores.clicks.totals(&[id]).await.unwrap()[0].clicks, 0);
    drop(stores);
    let roomy = open(folder.path());
    assert_eq!(roomy.links.claim(vec![link("later")], None).await.unwrap(), [Claim::Won]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_store_is_sound_whenever_it_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    Secrets::open_or_create(folder.path()).unwrap();
    let store = Embedded::open(folder.path(), Mode::Create).unwrap();
    let stores = store.stores();
    let stop = AtomicBool::new(false);
    let write = async {
        for n in 0.. {
            let made: Vec<Link> = (0..20)
                .map(|m| Link { tags: vec!["t".into()], ..link(&format!("busy-{n}-{m}")) })
                .collect();
            let ids: Vec<Id> = made.iter().map(|link| link.id).collect();
            stores.links.claim(made, None).await.unwrap();
            let rows: Vec<_> = ids.iter().map(|id| (*id, NOW.minute(), 1)).collect();
            let clicks = clicked(1, n * 20, n * 20 + 20, &rows);
            stores.clicks.flush(Arc::new(vec![clicks])).await.unwrap();
            store.settle().await.unwrap();
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let check = async {
        for _ in 0..40 {
            let path = folder.path().to_owned();
            let report = tokio::task::spawn_blocking(move || verify(&path)).await.unwrap().unwrap();
            assert!(report.is_sound(), "{report:?}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(write, check);
}

#[tokio::test]
async fn what_is_made_is_for_its_owner_alone() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let (home, copy, again) =
        (folder.path().join("home"), folder.path().join("copy"), folder.path().join("again"));
    let _lock = StoreLock::try_acquire(&home).unwrap();
    Secrets::open_or_create(&home).unwrap();
    let stores = open(&home);
    stores.links.claim(vec![link("mine")], None).await.unwrap();
    backup(&home, &copy).unwrap();
    std::fs::set_permissions(copy.join("shunt.db"), Permissions::from_mode(0o644)).unwrap();
    restore(&copy, &again, false, NOW).unwrap();
    for folder in [&home, &copy, &again] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    for name in ["shunt.db", "shunt.db-wal", "shunt.db-shm", "lock", "keys.toml"] {
        assert_eq!(mode(&home.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&again.join("shunt.db")), 0o600);

    // A folder that is there was made by somebody who knows who may look into it.
    std::fs::set_permissions(&home, Permissions::from_mode(0o750)).unwrap();
    drop(stores);
    drop(open(&home));
    assert_eq!(mode(&home), 0o750);
}
