//! Bots, as far as they say so themselves: their clicks are answered and accounted for, but are no
//! part of a link's `clicks`.

/// Words of programs that call themselves what they are, in lower case.
const WORDS: &[&[u8]] = &[
    b"crawl",
    b"spider",
    b"slurp",
    b"facebookexternalhit",
    b"mediapartners-google",
    b"google-inspectiontool",
];

/// Whether a user agent names a bot. No user agent at all is not one.
pub fn is_bot(user_agent: &[u8]) -> bool {
    (0..user_agent.len()).any(|at| {
        let rest = &user_agent[at..];
        match rest[0] | 0x20 {
            b'b' => begins(rest, b"bot") && is_name(user_agent, at),
            b'c' | b'f' | b'g' | b'm' | b's' => WORDS.iter().any(|word| begins(rest, word)),
            _ => false,
        }
    })
}

fn begins(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word))
}

/// `bot` ends a name, as in `Googlebot/2.1`, unless it is that of a telephone.
fn is_name(user_agent: &[u8], at: usize) -> bool {
    let ends = user_agent.get(at + 3).is_none_or(|next| !next.is_ascii_alphabetic());
    ends && !(at >= 2 && user_agent[at - 2..at].eq_ignore_ascii_case(b"cu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_are_known_by_what_they_call_themselves() {
        for (user_agent, bot) in [
            ("", false),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", true),
            ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0)", true),
            ("Slackbot-LinkExpanding 1.0", true),
            ("Mozilla/5.0 (compatible; Baiduspider/2.0)", true),
            ("Mozilla/5.0 (compatible; Yahoo! Slurp)", true),
            ("facebookexternalhit/1.1", true),
            ("TWITTERBOT", true),
            ("Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 Chrome/130", false),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0", false),
            ("Bottle/1.0", false),
            ("curl/8.5.0", false),
        ] {
            assert_eq!(is_bot(user_agent.as_bytes()), bot, "{user_agent}");
        }
    }
}
