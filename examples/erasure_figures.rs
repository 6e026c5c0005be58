//! What it costs to leave no trace of somebody: `cargo run --release --example erasure_figures`. For
//! growing numbers of people: an erasure as its caller waits for it, and the scrubbing behind it.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::unwrap_used, reason = "it is a measurement")]

use std::time::Instant;

use futures_util::future::join_all;
use shunt::domain::account::User;
use shunt::domain::email::Email;
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::Workspace;
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::people::NewUser;

const NOW: Timestamp = Timestamp(1_780_000_000_000);
const AT_ONCE: u64 = 500;

fn new(number: u64) -> NewUser {
    let workspace = Id(number << 1 | 1);
    // Scattered, as addresses are.
    let email = format!("{:x}.{number}@example.com", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let user = User {
        id: Id(number << 1),
        email: Email::parse(&email).unwrap(),
        email_verified_at: None,
        name: format!("Somebody called {number}"),
        password: Some("h".repeat(97)),
        workspace,
        created_at: NOW,
        updated_at: NOW,
        disabled_at: None,
    };
    let name = "Personal".to_owned();
    let workspace = Workspace { id: workspace, name, operator: false, created_at: NOW };
    NewUser { user, workspace, identity: None, invitation: None }
}

#[tokio::main]
async fn main() {
    println!("{:>10} {:>14} {:>14} {:>14}", "people", "adding each", "erasing one", "scrubbing");
    for n_people in [1_000_u64, 10_000, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path(), Mode::Create).unwrap();
        let users = store.stores().users;
        let started = Instant::now();
        for first in (1..=n_people).step_by(AT_ONCE as usize) {
            join_all((first..first + AT_ONCE).map(|number| users.add_user(new(number)))).await;
        }
        let added = started.elapsed() / n_people as u32;
        // Without anybody to erase, so that only the scrubbing differs.
        store.close();
        drop((users, store));
        let store = Embedded::open(folder.path(), Mode::Existing).unwrap();
        let started = Instant::now();
        store.stores().users.erase_user(Id(2), NOW).await.unwrap();
        let erased = started.elapsed();
        let started = Instant::now();
        store.close();
        let scrubbed = started.elapsed();
        println!("{n_people:>10} {added:>14.1?} {erased:>14.1?} {scrubbed:>14.1?}");
    }
}
