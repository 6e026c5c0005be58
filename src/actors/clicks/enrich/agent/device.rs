//! The class of a visitor's device, from the names of uap-core and from words of its own.

use super::signs::{Sign, Signs};

/// Windows, macOS, Chrome OS, Linux and its kin, in a browser or an app.
const DESKTOP: &str = "desktop";
/// Telephones, and players like the iPod.
const MOBILE: &str = "mobile";
/// Tablets and readers. An iPad that asks for desktop pages in Safari cannot be told from a Mac.
const TABLET: &str = "tablet";
/// Television sets, and boxes and sticks for them.
const TV: &str = "tv";
/// Game consoles, also those for the pocket.
const CONSOLE: &str = "console";
/// Watches, glasses and headsets.
const WEARABLE: &str = "wearable";
/// Anything that says too little, such as libraries and commands.
const OTHER: &str = "other";
/// Bots, whatever device they claim to be.
pub(super) const BOT: &str = "bot";

/// Every class there is.
pub const CLASSES: [&str; 8] = [DESKTOP, MOBILE, TABLET, TV, CONSOLE, WEARABLE, OTHER, BOT];

/// Words by which devices are known, in any case.
pub(super) const WORDS: &[(Sign, &[&str])] = &[
    (
        Sign::Wearable,
        &[
            "watchos",
            "apple watch",
            "galaxy watch",
            "smartwatch",
            "wear os",
            "google glass",
            "glass 1 build",
            "oculusbrowser",
            "; quest",
            "sm-r",
        ],
    ),
    (Sign::Console, &["playstation", "xbox", "nintendo", "dreamcast"]),
    (Sign::Speaker, &["devicetype/smartspeaker"]),
    (
        Sign::Television,
        &[
            "smart-tv",
            "smarttv",
            "smart tv",
            "smart_tv",
            "hbbtv",
            "appletv",
            "apple tv",
            "tvos",
            "googletv",
            "google tv",
            "androidtv",
            "android tv",
            "webtv",
            "nettv",
            "inettv",
            "philipstv",
            "opera tv",
            " tv safari",
            "mitv",
            "mibox",
            "bravia",
            "viera",
            "aquosbrowser",
            "netcast",
            "web0s",
            "vidaa",
            "crkey",
            "roku/",
            "; aft",
            "stbapp",
            "ce-html",
        ],
    ),
    (Sign::TabletServices, &["tablet pc"]),
    (
        Sign::Tablet,
        &[
            "tablet",
            "ipad",
            "kindle",
            "silk/",
            "playbook",
            "touchpad",
            "nexus 7",
            "nexus 9",
            "nexus 10",
            "pixel c ",
            "galaxy tab",
            "sm-t",
            "sm-x",
            "gt-p",
            "xoom",
            "mediapad",
            "matepad",
            "lenovo tab",
            "lenovo tb",
            "surface rt",
            "wetab",
        ],
    ),
    (
        Sign::Phone,
        &[
            "mobile",
            "phone",
            "ipod",
            "opera mini",
            "opera mobi",
            "windows ce",
            "blackberry",
            "bb10",
            "symbian",
            "series40",
            "series60",
            "nokia",
            "midp",
            "kaios",
            "maemo",
            "ucweb",
        ],
    ),
    (Sign::Desktop, &["macintosh", "x11"]),
    (Sign::Android, &["android"]),
];

/// Systems of telephones. What has no word of its own in `WORDS` is known by its system.
const PHONE_SYSTEMS: &[&str] = &[
    "iOS",
    "Windows Phone",
    "Windows Mobile",
    "Symbian OS",
    "BlackBerry OS",
    "Firefox OS",
    "KaiOS",
    "BREW",
    "Brew MP",
    "Bada",
    "MeeGo",
    "Sailfish",
    "Tizen",
    "VRE",
    "webOS",
];

/// The class of a device that is no bot's. `system` and `device` are names of uap-core.
pub(super) fn class(
    user_agent: &[u8],
    signs: Signs,
    system: Option<&str>,
    device: Option<&str>,
) -> &'static str {
    if signs.has(Sign::Wearable) {
        return WEARABLE;
    }
    if signs.has(Sign::Console) {
        return CONSOLE;
    }
    if signs.has(Sign::Speaker) {
        return OTHER;
    }
    if signs.has(Sign::Television) {
        return TV;
    }
    let tablet = signs.has(Sign::Tablet) && !signs.has(Sign::TabletServices);
    if tablet || device == Some("Generic Tablet") {
        return TABLET;
    }
    if system == Some("iOS") && signs.has(Sign::Desktop) {
        // Chrome and Edge say both when they ask for desktop pages, as they do on tablets.
        return TABLET;
    }
    if signs.has(Sign::Phone) || system.is_some_and(|name| PHONE_SYSTEMS.contains(&name)) {
        return MOBILE;
    }
    if signs.has(Sign::Android) {
        // Browsers on telephones say `Mobile`; apps say neither.
        return if user_agent.starts_with(b"Mozilla/") { TABLET } else { MOBILE };
    }
    if signs.has(Sign::Program) {
        return OTHER;
    }
    if system.is_some() || device == Some("Mac") || signs.has(Sign::Desktop) {
        return DESKTOP;
    }
    if device.is_some() { MOBILE } else { OTHER }
}
