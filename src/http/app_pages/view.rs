//! What the pages say, and the HTML of their forms.

use std::borrow::Cow;
use std::fmt::Write as _;

use actix_web::http::StatusCode;

use super::Mailed;
use crate::domain::account::Role;
use crate::domain::ticket::Ticket;
use crate::http::pages::{BROKEN, CHAIN, CLOCK, Look, Sheet, escaped};
use crate::service::accounts::{AccountError, Accounts, Joined, NAME_CHARS_MAX};

const STYLES: &str = include_str!("form.css");

/// Browsers look for a name beside a password, and say so when there is none. Whose the mail is, a
/// page does not tell that is only looked at.
const NO_USERNAME: &str = "<input type=\"text\" autocomplete=\"username\" hidden>\n";

const MAIL: Look = Look { tone: "blue", icon: "M3 6h18v12H3zM3 7l9 6 9-6" };
const LOCK: Look = Look { tone: "blue", icon: "M6 11h12v9H6zM8.5 11V7.5a3.5 3.5 0 0 1 7 0V11" };
const DONE: Look = Look { tone: "blue", icon: "M4.5 12.5l5 5 10-11" };

/// One page, ready to be written.
#[derive(Debug)]
pub(super) struct View {
    look: Look,
    title: Cow<'static, str>,
    reason: Cow<'static, str>,
    advice: &'static str,
    /// HTML; empty where there is nothing to send.
    forms: String,
}

/// What is in the forms of a page when they are shown.
pub(super) struct Filled<'a> {
    page: Mailed,
    ticket: &'a Ticket,
    /// Whether somebody new may join.
    takes_new: bool,
    pub(super) is_new: bool,
    pub(super) email: String,
    pub(super) name: String,
}

/// One field of a form.
struct Input<'a> {
    label: &'static str,
    name: &'static str,
    kind: &'static str,
    autocomplete: &'static str,
    chars_max: usize,
    value: &'a str,
}

impl View {
    /// The text of the mail is malformed, or not in force.
    pub(super) fn spent(page: Mailed) -> Self {
        let advice = match page {
            Mailed::VerifyEmail => "Log in and ask for another mail, or open the newest you have.",
            Mailed::ResetPassword => "Ask for another mail, or open the newest you have.",
            Mailed::Join => "Ask whoever invited you to do it again.",
        };
        let reason = "It has been used already, its time is over, or a part of it is missing.";
        Self::plain(BROKEN, "This link cannot be used", reason, advice)
    }

    /// Somebody else's form, or none at all.
    pub(super) fn not_taken() -> Self {
        let reason = "What was sent does not come from the form on this site, or broke off.";
        let advice = "Open the link in the mail again, and send the form that it shows.";
        Self::plain(CLOCK, "This could not be done", reason, advice)
    }

    pub(super) fn confirmed() -> Self {
        let reason = "Thank you. It is known now that mail to this address reaches you.";
        Self::plain(DONE, "Your address is confirmed", reason, "You can close this page.")
    }

    pub(super) fn changed() -> Self {
        let reason = "All sessions of your account have ended.";
        let advice = "Log in with the new password from now on.";
        Self::plain(DONE, "Your password is changed", reason, advice)
    }

    pub(super) fn joined(joined: &Joined, is_new: bool) -> Self {
        let role = match joined.role {
            Role::Viewer => "You see its links and statistics.",
            Role::Member => "You can make links in it.",
            Role::Admin => "You can change everything in it, and its members.",
            Role::Owner => "You own it together with others.",
        };
        let advice = match is_new {
            true => "A mail is on its way that confirms your address. You can close this page.",
            false => "You can close this page.",
        };
        let title = format!("You have joined “{}”", joined.workspace);
        Self { title: title.into(), ..Self::plain(DONE, "", role, advice) }
    }

    fn plain(look: Look, title: &'static str, reason: &'static str, advice: &'static str) -> Self {
        let (title, reason) = (Cow::Borrowed(title), Cow::Borrowed(reason));
        Self { look, title, reason, advice, forms: String::new() }
    }

    /// The whole page. `status` is shown where there is nothing left to do here.
    pub(super) fn html(&self, status: Option<StatusCode>) -> String {
        let sheet = Sheet {
            look: self.look,
            title: &self.title,
            reason: &self.reason,
            advice: self.advice,
            action: &self.forms,
            status: status.filter(|_| self.forms.is_empty()),
            styles: STYLES,
        };
        sheet.html()
    }
}

impl<'a> Filled<'a> {
    /// Nothing is filled in yet.
    pub(super) fn new(page: Mailed, ticket: &'a Ticket, accounts: &Accounts) -> Self {
        let takes_new = accounts.takes_registrations();
        let (email, name) = (String::new(), String::new());
        Self { page, ticket, takes_new, is_new: false, email, name }
    }

    /// The page with its forms. `faults` says why the one that was sent is not taken.
    pub(super) fn view(&self, faults: &[Cow<'static, str>]) -> View {
        let forms = match self.page {
            Mailed::VerifyEmail => self.form(None, &[], "Confirm", faults),
            Mailed::ResetPassword => {
                let password = password("New password", "new-password");
                self.form(None, &[password], "Set the password", faults)
            }
            Mailed::Join => self.join_forms(faults),
        };
        let view = match self.page {
            Mailed::VerifyEmail => View::plain(
                MAIL,
                "Confirm your address",
                "A mail with this link went to an address, to find out whether it is yours.",
                "If you made an account with it, press the button. Else close this page.",
            ),
            Mailed::ResetPassword => View::plain(
                LOCK,
                "Choose a new password",
                "It takes the place of the one before, and ends all sessions of your account.",
                "If you did not ask for this, close this page: nothing changes.",
            ),
            Mailed::Join => View::plain(
                CHAIN,
                "Join a workspace",
                "Somebody invites you to share links and their statistics.",
                "If you do not know what this is about, close this page: nothing happens.",
            ),
        };
        View { forms, ..view }
    }

    fn join_forms(&self, faults: &[Cow<'static, str>]) -> String {
        let of = |is_new| if self.is_new == is_new { faults } else { &[] };
        let email = |autocomplete| Input {
            label: "E-mail",
            name: "email",
            kind: "email",
            autocomplete,
            chars_max: 254,
            value: &self.email,
        };
        let name = Input {
            label: "Name, as others see it",
            name: "name",
            kind: "text",
            autocomplete: "name",
            chars_max: NAME_CHARS_MAX,
            value: &self.name,
        };
        let known = [email("username"), password("Password", "current-password")];
        let mut forms = self.form(Some(("member", "I have an account")), &known, "Join", of(false));
        if self.takes_new {
            let new = [email("email"), name, password("New password", "new-password")];
            let button = "Make an account and join";
            forms += &self.form(Some(("new", "I am new")), &new, button, of(true));
        }
        forms
    }

    fn form(
        &self,
        who: Option<(&'static str, &'static str)>,
        inputs: &[Input<'_>],
        button: &'static str,
        faults: &[Cow<'static, str>],
    ) -> String {
        // Relative, and without a query: the secret leaves the address, and a proxy may put the
        // site below any path.
        let action = self.page.path().trim_start_matches("/app/");
        let label = who.map(|(id, _)| format!(" aria-labelledby=\"{id}\"")).unwrap_or_default();
        let mut html = format!("<form method=\"post\" action=\"{action}\"{label}>\n");
        // Writing to a string does not fail.
        if let Some((id, heading)) = who {
            let _ = write!(html, "<h2 id=\"{id}\">{heading}</h2>\n{}", hidden("as", id));
        }
        if !faults.is_empty() {
            html += "<div class=\"fault red\" role=\"alert\">";
            for fault in faults {
                let _ = write!(html, "<p>{}</p>", escaped(fault));
            }
            html += "</div>\n";
        }
        html += &hidden("token", self.ticket.as_str());
        if self.page == Mailed::ResetPassword {
            html += NO_USERNAME;
        }
        inputs.iter().for_each(|input| input.write(&mut html));
        let _ = writeln!(html, "<button>{button}</button>\n</form>");
        html
    }
}

impl Input<'_> {
    fn write(&self, html: &mut String) {
        let Input { label, name, kind, autocomplete, chars_max, value } = self;
        // Nobody has to have a name. A password is never cut: it would be another one.
        let required = if *name == "name" { "" } else { " required" };
        let chars = match *kind {
            "password" => String::new(),
            _ => format!(" maxlength=\"{chars_max}\" value=\"{}\"", escaped(value)),
        };
        let _ = writeln!(
            html,
            "<label>{label}<input type=\"{kind}\" name=\"{name}\" \
             autocomplete=\"{autocomplete}\"{chars}{required}></label>"
        );
    }
}

fn password(label: &'static str, autocomplete: &'static str) -> Input<'static> {
    let (name, kind) = ("password", "password");
    Input { label, name, kind, autocomplete, chars_max: 0, value: "" }
}

fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">\n", escaped(value))
}

/// Why a form is not taken, for whoever can send it again. `None`: no other form helps.
pub(super) fn sentences(cause: &AccountError) -> Option<Vec<Cow<'static, str>>> {
    let said = match cause {
        AccountError::InvalidTicket => return None,
        AccountError::Weak(weaknesses) => {
            let sentences = weaknesses.iter().map(|weakness| sentence(&weakness.to_string()));
            return Some(sentences.collect());
        }
        AccountError::Invalid(faults) => {
            return Some(faults.iter().map(|fault| sentence(&fault.detail)).collect());
        }
        AccountError::WrongCredentials => "The address or the password is wrong.",
        AccountError::Disabled => "This account is disabled.",
        AccountError::EmailTaken => "There is an account with this address: join with that.",
        AccountError::RegistrationClosed => "No accounts are made here.",
        AccountError::TooMany { retry_after_secs, .. } => {
            let wait = match retry_after_secs {
                1 => "a second".to_owned(),
                2..=90 => format!("{retry_after_secs} seconds"),
                _ => format!("{} minutes", retry_after_secs.div_ceil(60)),
            };
            return Some(vec![format!("Too many tries. Try again in {wait}.").into()]);
        }
        _ => "Something on our side went wrong. Wait a few seconds, then try again.",
    };
    Some(vec![said.into()])
}

/// A reason as a sentence.
fn sentence(reason: &str) -> Cow<'static, str> {
    let mut letters = reason.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str()).into()
}
