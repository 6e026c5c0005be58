//! `shunt users create|list|disable|enable|reset-password`: works on the store, also while a server
//! runs.

use std::io::Read as _;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::app::{self, Opened, Sharing};
use crate::cli::keys::show_time;
use crate::cli::{Failure, Outcome, block_on, complain, say};
use crate::config::Settings;
use crate::domain::account::User;
use crate::domain::id::Id;
use crate::domain::password::Password;
use crate::service::accounts::{AccountError, Profile, Roll};
use crate::service::passwords::PasswordHasher;

/// Characters of a password that is made, unless the policy wants more: 138 bits.
const PASSWORD_CHARS: usize = 24;
/// What it is made of: letters and digits that nobody takes for another.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
/// What is read of standard input. Longer than any password.
const INPUT_BYTES_MAX: u64 = 4_096;

#[derive(Debug, Subcommand)]
pub(super) enum UsersCommand {
    /// Make an account; a password that was made for it is printed on standard output, this once
    Create(CreateArgs),
    /// List all accounts
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// End all sessions of an account and put its keys out of force, until it is enabled again
    Disable(Which),
    /// Put an account in force again, with its keys
    Enable(Which),
    /// Give an account another password, printed as by `create`; all of its sessions end
    ResetPassword(ResetArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Address to log in with; it counts as confirmed
    #[arg(long)]
    email: String,
    /// What others see
    #[arg(long, default_value = "")]
    name: String,
    #[command(flatten)]
    source: PasswordSource,
}

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    source: PasswordSource,
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Id or address, as `shunt users list` shows them
    account: String,
}

#[derive(Debug, Args)]
struct PasswordSource {
    /// Read the password from standard input; without, one is made and printed
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    Table,
    Ndjson,
}

pub(super) fn run(command: UsersCommand, settings: &Settings) -> Outcome {
    block_on(async {
        let opened = app::open(settings, Sharing::WithServer).await?;
        let roll = roll(settings, &opened)?;
        match command {
            UsersCommand::Create(args) => create(&roll, args, settings).await,
            UsersCommand::List { format } => list(&roll, format).await,
            UsersCommand::Disable(which) => disable(&roll, &which, true).await,
            UsersCommand::Enable(which) => disable(&roll, &which, false).await,
            UsersCommand::ResetPassword(args) => reset_password(&roll, &args, settings).await,
        }
    })
}

fn roll(settings: &Settings, opened: &Opened) -> Result<Roll, Failure> {
    let passwords = PasswordHasher::start(&settings.passwords, &opened.metrics);
    Ok(Roll {
        stores: opened.stores.clone(),
        ids: Arc::clone(&opened.ids),
        clock: Arc::clone(&opened.clock),
        passwords: passwords.context("starting to check passwords")?,
    })
}

async fn create(roll: &Roll, args: CreateArgs, settings: &Settings) -> Outcome {
    let (password, made) = args.source.password(settings)?;
    let created = roll.create(&args.email, args.name, password).await;
    let user = created.map_err(|error| match error {
        AccountError::EmailTaken => {
            Failure::failed(format!("there is an account with the address {}", args.email.trim()))
        }
        other => refused(other),
    })?;
    show(made);
    complain(format_args!("made account {} ({})", user.id, user.email.as_str()));
    Ok(())
}

async fn reset_password(roll: &Roll, args: &ResetArgs, settings: &Settings) -> Outcome {
    let user = args.which.find(roll).await?;
    let (password, made) = args.source.password(settings)?;
    let ended = roll.reset_password(&user, password).await.map_err(|error| match error {
        AccountError::NotFound => Failure::failed("the account changed meanwhile; try again"),
        other => refused(other),
    })?;
    show(made);
    complain(format_args!("{} has another password; {}", named(&user), sessions(ended)));
    Ok(())
}

async fn disable(roll: &Roll, which: &Which, disabled: bool) -> Outcome {
    let user = which.find(roll).await?;
    let ended = roll.disable(user.id, disabled).await.map_err(refused)?;
    match disabled {
        true => say(format_args!("disabled {}; {}", named(&user), sessions(ended))),
        false => say(format_args!("enabled {}", named(&user))),
    }
    Ok(())
}

async fn list(roll: &Roll, format: Format) -> Outcome {
    if matches!(format, Format::Table) {
        say(format_args!(
            "{:<20} {:<32} {:<8} {:<8} {:<20} WORKSPACES",
            "ID", "E-MAIL", "STATE", "VERIFIED", "CREATED"
        ));
    }
    let mut after = Id(0);
    loop {
        let page = roll.page(after).await.map_err(refused)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.user.id;
        for profile in &page {
            match format {
                Format::Table => say(row(profile)),
                Format::Ndjson => say(object(profile)),
            }
        }
    }
}

fn row(Profile { user, memberships }: &Profile) -> String {
    let workspaces: Vec<_> = memberships
        .iter()
        .map(|(workspace, member)| format!("{} ({})", workspace.name, member.role.as_str()))
        .collect();
    format!(
        "{:<20} {:<32} {:<8} {:<8} {:<20} {}",
        user.id.to_string(),
        user.email.as_str(),
        state(user),
        if user.email_verified_at.is_some() { "yes" } else { "no" },
        show_time(user.created_at),
        workspaces.join(", "),
    )
}

fn object(Profile { user, memberships }: &Profile) -> serde_json::Value {
    let workspaces: Vec<_> = memberships
        .iter()
        .map(|(workspace, member)| {
            let (id, role) = (workspace.id.to_string(), member.role.as_str());
            json!({"id": id, "name": workspace.name, "role": role})
        })
        .collect();
    json!({
        "id": user.id.to_string(),
        "email": user.email.as_str(),
        "name": user.name,
        "state": state(user),
        "email_verified": user.email_verified_at.is_some(),
        "created_at": show_time(user.created_at),
        "workspaces": workspaces,
    })
}

impl Which {
    async fn find(&self, roll: &Roll) -> Result<User, Failure> {
        roll.find(&self.account).await.map_err(|error| match error {
            AccountError::NotFound => Failure::failed(format!(
                "there is no account {}; `shunt users list` shows them",
                self.account
            )),
            other => refused(other),
        })
    }
}

impl PasswordSource {
    /// The password, and its text if it was made here and has to be shown.
    fn password(&self, settings: &Settings) -> Result<(Password, Option<Password>), Failure> {
        if self.password_stdin {
            return Ok((read_password()?, None));
        }
        let n_chars = PASSWORD_CHARS.max(settings.passwords.chars_min);
        let made = make_password(n_chars).context("no random bytes")?;
        Ok((Password::new(made.expose().to_owned()), Some(made)))
    }
}

/// The first line of standard input, which must be the only one.
fn read_password() -> Result<Password, Failure> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(INPUT_BYTES_MAX);
    if input.read_to_string(&mut text).is_err() {
        return Err(Failure::usage("standard input cannot be read, or is not UTF-8"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        return Err(Failure::usage("standard input must hold the password, on one line"));
    }
    Ok(Password::new(line.to_owned()))
}

/// A password of so many characters with an upper-case letter, a lower-case letter and a digit.
fn make_password(n_chars: usize) -> Result<Password, getrandom::Error> {
    loop {
        let mut text = String::with_capacity(n_chars);
        while text.len() < n_chars {
            let mut bytes = [0; 64];
            getrandom::fill(&mut bytes)?;
            // What is left of 256 would make the first letters likelier than others.
            let fair = 256 / ALPHABET.len() * ALPHABET.len();
            let letters = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
            let letters = letters.map(|byte| char::from(ALPHABET[byte % ALPHABET.len()]));
            text.extend(letters.take(n_chars - text.len()));
        }
        let has = |kind: fn(&char) -> bool| text.chars().any(|letter| kind(&letter));
        if has(char::is_ascii_uppercase)
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_digit)
        {
            return Ok(Password::new(text));
        }
    }
}

/// A password that was made, alone on standard output, so that a script can take it.
fn show(made: Option<Password>) {
    if let Some(made) = made {
        say(made.expose());
    }
}

/// What the operator gave that is not acceptable is wrong usage; everything else is a failure.
fn refused(error: AccountError) -> Failure {
    match error {
        AccountError::Weak(weaknesses) => {
            let reasons: Vec<_> = weaknesses.iter().map(ToString::to_string).collect();
            Failure::usage(reasons.join("; "))
        }
        AccountError::Invalid(faults) => {
            let reasons: Vec<_> = faults.into_iter().map(|fault| fault.detail).collect();
            Failure::usage(reasons.join("; "))
        }
        other => anyhow::Error::from(other).into(),
    }
}

fn named(user: &User) -> String {
    format!("{} ({})", user.email.as_str(), user.id)
}

fn sessions(n: usize) -> String {
    match n {
        1 => "1 session ended".to_owned(),
        n => format!("{n} sessions ended"),
    }
}

fn state(user: &User) -> &'static str {
    if user.disabled_at.is_some() { "disabled" } else { "active" }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::password::PasswordPolicy;

    #[test]
    fn passwords_that_are_made_are_strong_and_differ() {
        let mut seen = HashSet::new();
        let mut letters = HashSet::new();
        for n_chars in [PASSWORD_CHARS, 100, 128].into_iter().cycle().take(60) {
            let made = make_password(n_chars).unwrap();
            assert_eq!(made.expose().chars().count(), n_chars);
            assert_eq!(PasswordPolicy::default().weaknesses(&made, &["a@b.example"]), []);
            letters.extend(made.expose().bytes());
            assert!(seen.insert(made.expose().to_owned()));
        }
        assert_eq!(letters.len(), ALPHABET.len(), "some letters never come");
        assert!(letters.iter().all(|letter| ALPHABET.contains(letter)));
    }

    #[test]
    fn no_letter_of_a_password_that_is_made_is_likelier_than_another() {
        let made = make_password(100_000).unwrap();
        let early = &ALPHABET[..256 % ALPHABET.len()];
        let n_early = made.expose().bytes().filter(|letter| early.contains(letter)).count();
        let expected = 100_000 * early.len() / ALPHABET.len();
        // Six standard deviations are a thousand; if the rest of 256 came around, they were 5,600.
        assert!(n_early.abs_diff(expected) < 2_000, "{n_early} instead of {expected}");
    }
}
