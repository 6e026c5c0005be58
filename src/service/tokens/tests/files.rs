//! Keys in files of the operator.

use std::path::Path;

use super::*;

/// Two private keys as OpenSSL writes them; the first is that of RFC 8410.
const PEMS: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----\n\
     MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
     -----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\n\
     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
     -----END PRIVATE KEY-----\n",
];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, pem) in [("a.pem", PEMS[0]), ("b.pem", PEMS[1]), ("same.pem", PEMS[0])] {
        std::fs::write(folder.path().join(name), pem).unwrap();
    }
    let text = "-----BEGIN PUBLIC KEY-----\nnothing\n-----END PUBLIC KEY-----\n";
    std::fs::write(folder.path().join("text.pem"), text).unwrap();
    folder
}

async fn start(folder: &Path, names: &[&str]) -> Result<(Process, Arc<Watched>), KeyChainError> {
    let config = TokensConfig {
        signing_key_files: names.iter().map(|name| folder.join(name)).collect(),
        ..TokensConfig::default()
    };
    let watched = Watched::new(MemoryStore::new().signing);
    let process = Process::start(Arc::clone(&watched) as _, SECRET, &config).await?;
    Ok((process, watched))
}

#[tokio::test]
async fn the_first_file_signs_and_all_verify() {
    let folder = folder();
    let (old, _) = start(folder.path(), &["a.pem"]).await.unwrap();
    let (turned, _) = start(folder.path(), &["b.pem", "a.pem"]).await.unwrap();
    let (new, _) = start(folder.path(), &["b.pem"]).await.unwrap();
    assert_eq!(turned.kids(), [new.kid(), old.kid()]);
    for process in [&old, &new] {
        assert_eq!(turned.verify(&process.token()), Ok(claims_at(NOON)));
    }
    assert_eq!(new.verify(&turned.token()), Ok(claims_at(NOON)));
    assert_eq!(new.verify(&old.token()), Err(TokenFault::UnknownKey));
    assert_eq!(turned.chain.jwks()["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn with_files_the_store_has_no_part_in_keys() {
    let folder = folder();
    let (process, watched) = start(folder.path(), &["a.pem"]).await.unwrap();
    let kid = process.kid();
    process.clock.set(NOON.plus_millis(400 * DAY));
    process.chain.refresh().await.unwrap();
    assert_eq!(process.kid(), kid, "the operator's keys do not grow old");
    let unknown = process.header().replace(&kid, &"A".repeat(43));
    let outcome = process.chain.verify_fresh(&process.forge(&unknown, "{}"), NOON).await;
    assert_eq!(outcome, Err(TokenFault::UnknownKey));
    assert_eq!(watched.n_reads(), 0);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let folder = folder();
    for (names, bad) in [
        (["absent.pem", "a.pem"], "absent.pem"),
        (["a.pem", "text.pem"], "text.pem"),
        (["a.pem", "same.pem"], "same.pem"),
        (["b.pem", "b.pem"], "b.pem"),
    ] {
        let error = start(folder.path(), &names).await.err().unwrap().to_string();
        assert!(error.contains(bad) && error.contains("tokens.signing_key_files"), "{error}");
    }
}
