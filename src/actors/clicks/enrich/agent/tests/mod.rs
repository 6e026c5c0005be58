//! Classifications of well-known user agents, of bots, and of what nobody should send.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod samples;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use self::samples::{BOTS, NO_BOTS, VISITORS};
use super::*;

static AGENTS: LazyLock<Agents> = LazyLock::new(Agents::new);

#[test]
fn visitors_are_told_by_class_system_and_browser() {
    for (class, os, browser, user_agent) in VISITORS {
        let agent = AGENTS.classify(user_agent.as_bytes());
        let told = (
            agent.device.unwrap_or_default(),
            agent.os.as_deref().unwrap_or_default(),
            agent.browser.as_deref().unwrap_or_default(),
        );
        assert_eq!(told, (*class, *os, *browser), "{user_agent}");
        assert!(!agent.bot && !AGENTS.is_bot(user_agent.as_bytes()), "{user_agent}");
        assert!(CLASSES.contains(class), "{class}");
    }
}

#[test]
fn bots_are_bots_on_any_device() {
    for user_agent in BOTS {
        let agent = AGENTS.classify(user_agent.as_bytes());
        assert!(agent.bot, "{user_agent}");
        assert_eq!(agent.device, Some("bot"), "{user_agent}");
        assert!(AGENTS.is_bot(user_agent.as_bytes()), "{user_agent}");
    }
}

#[test]
fn programs_that_people_drive_are_no_bots() {
    for user_agent in NO_BOTS {
        assert!(!AGENTS.classify(user_agent.as_bytes()).bot, "{user_agent}");
        assert!(!AGENTS.is_bot(user_agent.as_bytes()), "{user_agent}");
    }
}

#[test]
fn no_user_agent_says_nothing() {
    assert_eq!(AGENTS.classify(b""), Agent::default());
}

#[test]
fn a_name_is_no_longer_than_it_may_be() {
    let user_agent = format!("{}-iPad/1 CFNetwork/1 Darwin/20.1.0", "\u{e4}".repeat(90));
    let browser = AGENTS.classify(user_agent.as_bytes()).browser.unwrap();
    assert_eq!(browser.as_ref(), "\u{e4}".repeat(NAME_BYTES_MAX / 2));
}

#[test]
fn what_nobody_should_send_is_told_in_no_time() {
    let repeated = [
        "a",
        "; ",
        "(",
        "\u{0}",
        "Android ",
        "bot",
        "CFNetwork Darwin/ ",
        "Mozilla/5.0 (iPhone; ",
        "; Android 4.0; SAMSUNG SM-T Build/ ",
        "HbbTV/1.1.1 (;;;;;; 2011 ",
        "Nokia Series60 Version/",
    ];
    let mut hostile: Vec<Vec<u8>> =
        repeated.iter().map(|text| text.as_bytes().repeat(65_536 / text.len())).collect();
    hostile.push(vec![0xff; 65_536]);
    hostile.push((0..65_536_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    for user_agent in &hostile {
        AGENTS.classify(user_agent);
        let begun = Instant::now();
        AGENTS.classify(user_agent);
        let took = begun.elapsed();
        let shown = String::from_utf8_lossy(&user_agent[..20]);
        assert!(took < Duration::from_millis(100), "{took:?} for {shown}");
    }
}
