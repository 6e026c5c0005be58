//! What a user agent says about the visitor: class of device, operating system, browser, bot.
//!
//! The names come from the rules of uap-core (`vendor/uap-core`), classes and bots from these and
//! from lists of words. A classification takes some ten microseconds, so that it is done behind the
//! lanes, and remembered ([`AgentMemo`]).

mod crawlers;
mod device;
mod memo;
mod rules;
mod signs;

#[cfg(test)]
mod tests;

use self::rules::{Found, Rules};
use self::signs::{Sign, SignFinder, Signs};
use crate::domain::bot;
use crate::domain::limits::CLICK_FIELD_BYTES_MAX;

pub use self::device::CLASSES;
pub use self::memo::{AGENTS_REMEMBERED_MAX, AgentMemo};

/// Longest name of a system or browser, in bytes: some rules copy what the visitor sent.
const NAME_BYTES_MAX: usize = 64;

/// What a user agent says about the visitor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// One of [`CLASSES`]; none if there is no user agent.
    pub device: Option<&'static str>,
    /// Name without version, such as `iOS`, of at most 64 bytes.
    pub os: Option<Box<str>>,
    /// Name without version, such as `Mobile Safari`, bounded likewise.
    pub browser: Option<Box<str>>,
    pub bot: bool,
}

/// Tells visitors by their user agents. Share one: it compiles each rule when it is first needed.
pub struct Agents {
    rules: Rules,
    signs: SignFinder,
}

impl Agents {
    /// Reads the rules, which takes some milliseconds.
    pub fn new() -> Self {
        Self { rules: Rules::new(), signs: SignFinder::new() }
    }

    /// Tells all there is to tell. No user agent says nothing, and is not a bot.
    pub fn classify(&self, user_agent: &[u8]) -> Agent {
        let user_agent = cut(user_agent);
        if user_agent.is_empty() {
            return Agent::default();
        }
        let signs = self.signs.find(user_agent);
        let Found { browser, os, device } = self.rules.find(user_agent);
        let device = device.as_deref();
        let bot = names_bot(user_agent, signs) || resembles_bot(signs, device);
        let class =
            if bot { device::BOT } else { device::class(user_agent, signs, os.as_deref(), device) };
        Agent { device: Some(class), os: os.map(short), browser: browser.map(short), bot }
    }

    /// As `classify(..).bot`, for less.
    pub fn is_bot(&self, user_agent: &[u8]) -> bool {
        let user_agent = cut(user_agent);
        if user_agent.is_empty() {
            return false;
        }
        let signs = self.signs.find(user_agent);
        names_bot(user_agent, signs)
            || resembles_bot(signs, self.rules.find_device(user_agent).as_deref())
    }
}

impl Default for Agents {
    fn default() -> Self {
        Self::new()
    }
}

/// The part of a user agent that is looked at; the rest of a click's field is not kept either.
fn cut(user_agent: &[u8]) -> &[u8] {
    &user_agent[..user_agent.len().min(CLICK_FIELD_BYTES_MAX)]
}

fn short(name: Box<str>) -> Box<str> {
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    name[..name.floor_char_boundary(NAME_BYTES_MAX)].into()
}

/// It calls itself a bot, or by the name of one.
fn names_bot(user_agent: &[u8], signs: Signs) -> bool {
    bot::is_bot(user_agent) || signs.has(Sign::Crawler)
}

/// It looks like a bot, and is none of the programs that people drive. uap-core counts some of
/// these among its spiders.
fn resembles_bot(signs: Signs, device: Option<&str>) -> bool {
    let looks = device == Some(rules::SPIDER) || signs.has(Sign::HomePage);
    looks && !signs.has(Sign::Program) && !signs.has(Sign::Visitor)
}
