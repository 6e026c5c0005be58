//! What the mails say. Plain, short, and nothing in them that a stranger could have written but
//! names, and of those only letters and digits.

use std::time::Duration;

use super::Mail;

/// Longest name of a person or a workspace that a mail repeats, in characters.
const NAME_CHARS_MAX: usize = 60;

/// What mails call this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSite {
    /// Such as `go.example`.
    pub name: String,
    /// Such as `https://go.example/`.
    pub url: String,
}

/// Asks whoever registered to prove that the address is theirs.
pub fn verification(site: &MailSite, to: &str, link: &str, lifetime: Duration) -> Mail {
    let (name, lifetime) = (&site.name, words(lifetime));
    let text = format!(
        "Somebody, probably you, registered at {name} with this address.\n\n\
         To confirm that it is yours, open this link within {lifetime}:\n\n{link}\n\n\
         If it was not you, do nothing.\n"
    );
    mail(site, to, &format!("Confirm your address for {name}"), &text)
}

/// Lets the owner of an account choose a new password.
pub fn password_reset(site: &MailSite, to: &str, link: &str, lifetime: Duration) -> Mail {
    let (name, lifetime) = (&site.name, words(lifetime));
    let text = format!(
        "Somebody, probably you, asked for a new password for your account at {name}.\n\n\
         To choose one, open this link within {lifetime}. It works once:\n\n{link}\n\n\
         If it was not you, do nothing: your password stays as it is.\n"
    );
    mail(site, to, &format!("Choose a new password for {name}"), &text)
}

/// Invites somebody into a workspace.
pub fn invitation(
    site: &MailSite,
    to: &str,
    invited: &Invited<'_>,
    link: &str,
    lifetime: Duration,
) -> Mail {
    let (name, lifetime) = (&site.name, words(lifetime));
    let (inviter, workspace) = (plain(invited.by), plain(invited.workspace));
    let by = if inviter.is_empty() { "Somebody".to_owned() } else { inviter };
    let place = match workspace.is_empty() {
        true => format!("a workspace at {name}"),
        false => format!("the workspace \"{workspace}\" at {name}"),
    };
    let text = format!(
        "{by} invites you to {place}.\n\n\
         To join, open this link within {lifetime}:\n\n{link}\n\n\
         If you do not know what this is about, do nothing.\n"
    );
    mail(site, to, &format!("You are invited to {name}"), &text)
}

/// Who invites, and where to. Both are what somebody called themselves.
#[derive(Clone, Copy, Debug)]
pub struct Invited<'a> {
    pub by: &'a str,
    pub workspace: &'a str,
}

/// Tells the owner of an account that its password is another one now.
pub fn password_changed(site: &MailSite, to: &str) -> Mail {
    let MailSite { name, url } = site;
    let text = format!(
        "The password of your account at {name} was changed, and every other session ended.\n\n\
         If it was not you, ask for a new password at once:\n\n{url}\n"
    );
    mail(site, to, &format!("Your password at {name} was changed"), &text)
}

/// Tells the owner of an account that somebody tried to register with its address.
pub fn address_in_use(site: &MailSite, to: &str) -> Mail {
    let MailSite { name, url } = site;
    let text = format!(
        "Somebody, perhaps you, tried to register at {name} with this address. It has an account \
         already, so nothing was changed.\n\n\
         If it was you, log in, or ask for a new password if you do not know it any more:\n\n\
         {url}\n\n\
         If it was not you, do nothing.\n"
    );
    mail(site, to, &format!("You already have an account at {name}"), &text)
}

/// The text with a line below that says where it is from.
fn mail(site: &MailSite, to: &str, subject: &str, text: &str) -> Mail {
    let text = format!("Hello,\n\n{text}\n-- \n{} ({})\n", site.name, site.url);
    Mail { to: to.to_owned(), subject: subject.to_owned(), text }
}

/// A name without anything that a mail program would make a link of: invitations go to strangers,
/// and must not carry somebody's advertisement.
fn plain(name: &str) -> String {
    let fine = |c: char| c.is_alphanumeric() || "-'&,".contains(c);
    let spaced: String = name.chars().map(|c| if fine(c) { c } else { ' ' }).collect();
    let joined = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.chars().take(NAME_CHARS_MAX).collect::<String>().trim_end().to_owned()
}

/// A length of time as people say it, in the largest unit that divides it.
fn words(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let secs = time.as_secs().max(1);
    let unit = UNITS.into_iter().find(|(length, _)| secs.is_multiple_of(*length));
    let (length, name) = unit.unwrap_or((1, "second"));
    // "1 day" may have passed half a minute later; "24 hours" says the same and sounds like it.
    match secs / length {
        1 if length == 86_400 => "24 hours".to_owned(),
        1 => format!("one {name}"),
        n => format!("{n} {name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "margaret@example.com";
    const LINK: &str = "https://go.example/verify?token=abc";

    fn site() -> MailSite {
        MailSite { name: "go.example".to_owned(), url: "https://go.example/".to_owned() }
    }

    #[test]
    fn every_mail_names_the_site_and_fits_a_screen() {
        let invited = Invited { by: "Ada", workspace: "Engines" };
        let hour = Duration::from_secs(3_600);
        let with_link = [
            verification(&site(), TO, LINK, hour * 24),
            password_reset(&site(), TO, LINK, hour),
            invitation(&site(), TO, &invited, LINK, hour * 168),
        ];
        for mail in &with_link {
            // A line of its own, so that no program cuts or lengthens it.
            assert!(mail.text.contains(&format!("\n\n{LINK}\n\n")), "{}", mail.text);
        }
        for (mail, words) in with_link.iter().zip(["24 hours", "one hour", "7 days"]) {
            assert!(mail.text.contains(&format!("within {words}")), "{}", mail.text);
        }
        let notices = [password_changed(&site(), TO), address_in_use(&site(), TO)];
        for mail in with_link.iter().chain(&notices) {
            assert_eq!(mail.to, TO);
            assert!(mail.subject.contains("go.example") && mail.subject.len() < 70);
            assert!(mail.text.starts_with("Hello,\n\n") && mail.text.lines().count() < 20);
            assert!(mail.text.ends_with("\n-- \ngo.example (https://go.example/)\n"));
            assert!(!mail.text.contains(TO), "{}", mail.text);
        }
        assert!(with_link[2].text.contains("Ada invites you to the workspace \"Engines\""));
    }

    #[test]
    fn names_of_strangers_carry_no_links_and_no_lines() {
        for (name, shown) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("Żółw & Söhne, O'Hara-Smith", "Żółw & Söhne, O'Hara-Smith"),
            ("Buy at https://evil.example/now!", "Buy at https evil example now"),
            ("a\r\nBcc: b@evil.example\n\n<b>", "a Bcc b evil example b"),
            ("\u{202e}\u{0}\t", ""),
        ] {
            assert_eq!(plain(name), shown);
        }
        assert_eq!(plain(&"x".repeat(1_000)).len(), NAME_CHARS_MAX);
        let nobody = Invited { by: "", workspace: "://" };
        let mail = invitation(&site(), TO, &nobody, LINK, Duration::from_secs(90));
        assert!(mail.text.contains("Somebody invites you to a workspace at go.example."));
        assert!(mail.text.contains("within 90 seconds"), "{}", mail.text);
    }
}
