//! Archives that are damaged, cut off, of others or of later versions are refused before anything
//! is written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use shunt::cli::moving::archive::{Archive, MANIFEST, Writer};
use shunt::cli::moving::export;
use tempfile::TempDir;

use super::{embedded, filled, written};
use crate::make::NOW;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    files.sort();
    files
}

/// Whether an import would begin.
fn is_whole(folder: &Path) -> bool {
    Archive::open(folder).and_then(|archive| archive.check()).is_ok()
}

/// A small archive of a store, and what its files hold.
fn small() -> (TempDir, Vec<(PathBuf, Vec<u8>)>) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (source, _) = filled(&at("one")).await;
        written(&embedded(&source, &at("one")), &at("archive")).await;
    });
    let files = files(&at("archive")).into_iter();
    let files = files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    (folder, files)
}

#[test]
fn no_damage_passes() {
    let (folder, files) = small();
    let archive = folder.path().join("archive");
    assert!(is_whole(&archive));
    let (manifest, bytes) = files.iter().find(|(path, _)| path.ends_with(MANIFEST)).unwrap();
    for at in 0..bytes.len() {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 1 << (at % 8);
        fs::write(manifest, &spoilt).unwrap();
        assert!(!is_whole(&archive), "byte {at} of the manifest");
    }
    for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        fs::write(manifest, &bytes[..len]).unwrap();
        assert!(!is_whole(&archive), "a manifest of {len} bytes");
    }
    fs::write(manifest, bytes).unwrap();
    assert!(is_whole(&archive));
    let which = (0..files.len(), any::<prop::sample::Index>(), 0..8_u8, 0..4_u8);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(150));
    let run = runner.run(&which, |(file, at, bit, how)| {
        let (path, bytes) = &files[file];
        let mut spoilt = bytes.clone();
        let at = at.index(bytes.len());
        match how {
            0 | 1 => spoilt[at] ^= 1 << bit,
            2 => spoilt.truncate(at),
            _ => spoilt.insert(at, b' '),
        }
        fs::write(path, spoilt).unwrap();
        let passes = is_whole(&archive);
        fs::write(path, bytes).unwrap();
        prop_assert!(!passes, "{} at byte {at}", path.display());
        Ok(())
    });
    run.unwrap();
    for (path, bytes) in &files {
        fs::remove_file(path).unwrap();
        assert!(!is_whole(&archive), "without {}", path.display());
        fs::write(path, bytes).unwrap();
    }
    assert!(is_whole(&archive));
}

#[test]
fn archives_of_others_and_of_later_versions_are_named() {
    let refusal = |manifest: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), manifest).unwrap();
        Archive::open(folder.path()).unwrap_err().to_string()
    };
    let empty = tempfile::tempdir().unwrap();
    let words = Archive::open(empty.path()).unwrap_err().to_string();
    assert!(words.contains("no archive, or its export was cut short"), "{words}");
    let words = refusal("{\"program\":\"shunt archive\",\"format\":2,\"more\":[]}\nsha512 00\n");
    assert!(words.contains("newer Shunt (format 2"), "{words}");
    for foreign in ["", "{}", "[1]\n", "{\"program\":\"other\",\"format\":1}\n"] {
        let words = refusal(foreign);
        assert!(words.contains("of another program"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_its_owners_alone_and_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (source, _) = filled(&at("one")).await;
    written(&embedded(&source, &at("one")), &at("archive")).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&at("archive")), 0o700);
    assert!(files(&at("archive")).iter().all(|file| mode(file) == 0o600));
    assert!(Writer::create(&at("archive"), NOW.0).is_err());
    // What is written while nothing changes is the same, whenever it is written.
    let writer = Writer::create(&at("again"), NOW.0).unwrap();
    let again = export(&embedded(&source, &at("one")), writer, &mut |_| ()).await.unwrap();
    assert_eq!(again.id, Archive::open(&at("archive")).unwrap().id);
}
