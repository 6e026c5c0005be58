//! Programs that follow links without a person behind the click, and those that only look so.

use super::signs::Sign;

/// Words by which programs are known, in any case. Names that end in `bot`, and those that hold
/// `crawl` or `spider`, are no part of it: `domain::bot` knows them.
pub(super) const WORDS: &[(Sign, &[&str])] = &[
    (Sign::Crawler, SEARCH),
    (Sign::Crawler, ASSISTANTS),
    (Sign::Crawler, PREVIEWS),
    (Sign::Crawler, MONITORS),
    (Sign::Crawler, FEEDS),
    (Sign::Crawler, AUDITS),
    (Sign::HomePage, &["+http://", "+https://"]),
    (Sign::Program, PROGRAMS),
    (Sign::Visitor, VISITORS),
];

/// Search engines, archives and advertisers.
const SEARCH: &[&str] = &[
    "apis-google",
    "archive-it",
    "bingpreview",
    "daumoa",
    "duckduckgo-favicons",
    "google favicon",
    "google web preview",
    "google-adwords",
    "google-cloudvertex",
    "google-read-aloud",
    "google-safety",
    "google-site-verification",
    "google-structured-data",
    "googleother",
    "googleproducer",
    "heritrix",
    "ia_archiver",
    "ichiro",
    "microsoftpreview",
    "nutch",
    "qwantify",
    "seznam screenshot",
    "sogou pic",
    "sogou web",
    "yahoo ad monitoring",
    "yahoocachesystem",
    "yahooseeker",
    "yandex.com/bots",
    "yeti/",
];

/// Language models, and those who gather text for them.
const ASSISTANTS: &[&str] = &[
    "anthropic-ai",
    "chatgpt-user",
    "claude-user",
    "claude-web",
    "cohere-ai",
    "cohere-training",
    "gemini-deep-research",
    "google-extended",
    "google-notebooklm",
    "img2dataset",
    "meta-externalagent",
    "meta-externalfetcher",
    "meta-webindexer",
    "mistralai-user",
    "novaact",
    "oai-search",
    "perplexity-user",
];

/// Messengers, networks and mail services that look at a link before a person does.
const PREVIEWS: &[&str] = &[
    "embedly",
    "facebookcatalog",
    "facebookplatform",
    "flipboardproxy",
    "google-pagerenderer",
    "googleimageproxy",
    "iframely",
    "kakaotalk-scrap",
    "line-poker",
    "link preview",
    "linkpreview",
    "mastodon/",
    "microsoft office existence discovery",
    "misskey/",
    "opengraph",
    "outbrain",
    "pleroma",
    "quora-link",
    "skypeuripreview",
    "slack-imgproxy",
    "tumblr/",
    "unfurl",
    "vkshare",
    "whatsapp/",
    "wordpress/",
    "xing-contenttabreceiver",
    "yahoomailproxy",
];

/// Services that look whether a page is up, or how fast it is.
const MONITORS: &[&str] = &[
    "alertra",
    "amazon-route53-health-check",
    "appinsights",
    "blackbox exporter",
    "blackbox-exporter",
    "catchpoint",
    "check_http",
    "checkly",
    "chrome-lighthouse",
    "cloudflare-healthchecks",
    "datadogsynthetics",
    "dynatrace",
    "elb-healthchecker",
    "freshping",
    "gomezagent",
    "google page speed",
    "google-lighthouse",
    "googlehc",
    "googlestackdriver",
    "gtmetrix",
    "hetrixtools",
    "internetsupervision",
    "kube-probe",
    "monitis",
    "montastic",
    "new relic pinger",
    "newrelicpinger",
    "nodeping",
    "pingdom",
    "ptst/",
    "rackspace monitoring",
    "ruxitsynthetic",
    "site24x7",
    "speedcurve",
    "statuscake",
    "updown.io",
    "uptime-kuma",
    "uptimia",
    "webpagetest",
    "xymon",
    "yottaamonitor",
    "zabbix",
];

/// Readers of feeds, which fetch for many.
const FEEDS: &[&str] = &[
    "bloglovin",
    "feedbin",
    "feedburner",
    "feeddemon",
    "feedfetcher",
    "feedly/1.0",
    "feedspot",
    "feedvalidator",
    "freshrss",
    "magpierss",
    "miniflux",
    "netvibes",
    "newsblur feed",
    "newsgator",
    "simplepie",
    "superfeedr",
    "theoldreader",
    "tiny tiny rss",
];

/// Tools for rankings and markup, copies of whole sites, searches for holes.
const AUDITS: &[&str] = &[
    "a6-indexer",
    "acunetix",
    "admantx",
    "ahrefssiteaudit",
    "censysinspect",
    "cookiehub",
    "cookieinformation",
    "dataforseo",
    "datanyze",
    "expanse, a palo alto",
    "grapeshot",
    "httrack",
    "internet-measurement",
    "internetmeasurement",
    "l9explore",
    "l9tcpid",
    "link validator",
    "linkchecker",
    "masscan",
    "netcraft",
    "nikto",
    "nmap scripting engine",
    "nuclei",
    "openvas",
    "pagepeeker",
    "peer39",
    "proximic",
    "scrapy",
    "screaming frog",
    "serpstat",
    "sitechecker",
    "siteimprove",
    "sqlmap",
    "tlsprober",
    "turnitin",
    "urlscan",
    "validator.nu",
    "virustotal",
    "w3c-checklink",
    "w3c_css_validator",
    "w3c_i18n-checker",
    "w3c_validator",
    "webthumb",
    "whatweb",
    "wordpress.com mshots",
    "wpscan",
    "xenu",
    "zgrab",
];

/// Libraries and commands. They fetch what someone asks them to, and a click is a click.
const PROGRAMS: &[&str] = &[
    "aiohttp",
    "axios/",
    "bottle/",
    "curl/",
    "dart:io",
    "deno/",
    "faraday",
    "go-http-client",
    "google-http-java-client",
    "got (",
    "guzzlehttp",
    "hackney/",
    "http%20client",
    "http.rb",
    "http_request",
    "httpclient",
    "httpie",
    "httpunit",
    "httpx",
    "insomnia/",
    "java-http-client",
    "java/",
    "jersey/",
    "jnlp/",
    "libcurl",
    "libfetch",
    "libwww-perl",
    "lwp-",
    "lwp::",
    "node-fetch",
    "node-superagent",
    "okhttp",
    "perl/",
    "php/",
    "postmanruntime",
    "python-requests",
    "python/",
    "reqwest/",
    "restsharp",
    "ruby",
    "undici",
    "ureq/",
    "urllib",
    "wget",
    "winhttp",
];

/// Browsers and telephones with a word of uap-core's list of spiders in their names.
const VISITORS: &[&str] = &["cubot", "silk-accelerated", "silk/", "wordpressdesktop"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::bot;

    #[test]
    fn words_are_in_order_and_in_lower_case() {
        for (_, words) in WORDS {
            assert!(words.is_sorted(), "{words:?}");
            assert!(words.iter().all(|word| !word.contains(char::is_uppercase)), "{words:?}");
        }
    }

    #[test]
    fn no_word_is_known_without_it() {
        for (sign, words) in WORDS {
            for word in *words {
                let crawler = *sign == Sign::Crawler;
                assert!(!(crawler && bot::is_bot(word.as_bytes())), "{word} calls itself a bot");
                let all = WORDS.iter().filter(|(other, _)| other == sign);
                let holding =
                    all.flat_map(|(_, words)| *words).filter(|other| other.contains(word));
                assert_eq!(holding.count(), 1, "{word} is part of another word");
            }
        }
    }
}
