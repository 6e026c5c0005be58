//! The corpus of the web platform tests that travels with the `url` crate: what every browser
//! agrees on. Whatever we accept must come out as the corpus says.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::*;

/// Finds `urltestdata.json` in the sources that this build uses, wherever cargo keeps them. Only
/// those of this platform are there.
fn corpus() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc is there");
    let version = String::from_utf8(version.stdout).unwrap();
    let platform = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is there: it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let manifest = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["name"] == "url")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("this package depends on `url`");
    let file = PathBuf::from(manifest).with_file_name("tests").join("urltestdata.json");
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn whatever_is_accepted_comes_out_as_the_web_platform_tests_say() {
    let (mut n_accepted, mut n_failures) = (0, 0);
    for case in corpus().iter().filter(|case| case.is_object()) {
        let input = case["input"].as_str().unwrap();
        let ours = Destination::parse(input, &open_policy());
        if case["failure"] == true {
            assert!(ours.is_err(), "{input:?} must be refused");
            n_failures += 1;
            continue;
        }
        let href = case["href"].as_str().unwrap();
        match ours {
            Ok(url) => {
                assert_eq!(url.as_str(), href, "{input:?}");
                let host = case["hostname"].as_str().unwrap();
                let host = host.trim_matches(['[', ']']).trim_end_matches('.');
                assert_eq!(url.host(), host, "{input:?}");
                n_accepted += 1;
            }
            Err(error) => assert_our_rule(error, input, case),
        }
    }
    assert!(n_accepted > 100 && n_failures > 150, "{n_accepted} accepted, {n_failures} failures");
}

/// What the corpus accepts and we refuse must break a rule of ours.
fn assert_our_rule(error: DestinationError, input: &str, case: &Value) {
    let scheme = case["protocol"].as_str().unwrap();
    let after_scheme = input.get(scheme.len()..).unwrap_or_default();
    let absolute = after_scheme.starts_with("//") && !after_scheme[2..].starts_with(['/', '\\']);
    let holds = match error {
        DestinationError::Empty => input.is_empty(),
        DestinationError::TooLong => input.len() > DESTINATION_BYTES_MAX,
        DestinationError::ControlCharacter => {
            input.trim() != input || input.contains(char::is_control)
        }
        DestinationError::Scheme => !matches!(scheme, "http:" | "https:") || !absolute,
        DestinationError::UserInfo => input.contains('@'),
        DestinationError::Malformed | DestinationError::NoHost => {
            !absolute
                || case["hostname"].as_str().is_some_and(|host| host.trim_matches('.').is_empty())
        }
        // The policy of this test owns no host, blocks none and allows private addresses.
        DestinationError::DeceptiveHost
        | DestinationError::OwnDomain
        | DestinationError::PrivateAddress
        | DestinationError::Blocked => false,
    };
    assert!(holds, "{input:?} was refused: {error}");
}
