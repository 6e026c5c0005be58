//! Whatever comes back as a refresh token or a ticket: no panic, and only what this installation
//! made is taken, in one spelling.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shunt::domain::id::Id;
use shunt::domain::refresh_token::RefreshToken;
use shunt::domain::ticket::{Ticket, TicketKind};

const KEY: [u8; 32] = [2; 32];

// Taken as a text; and again as where to damage a token (two bytes), its session (eight), its
// generation (four), and its random bytes (thirty-two).
fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    // The fuzzer watches comparisons and may learn a digest from one.
    if let Some(token) = RefreshToken::parse(&text, &KEY) {
        assert_eq!(token.as_str(), text);
    }
    for kind in TicketKind::ALL {
        if let Some(ticket) = Ticket::parse(*kind, &text) {
            assert_eq!((ticket.kind(), ticket.as_str()), (*kind, text.as_ref()));
            assert_eq!(text.len(), 50);
        }
    }

    let Some((&[place, replacement], rest)) = input.split_first_chunk::<2>() else { return };
    let Some((session, rest)) = rest.split_first_chunk::<8>() else { return };
    let Some((generation, rest)) = rest.split_first_chunk::<4>() else { return };
    let Some(entropy) = rest.first_chunk::<32>() else { return };
    let (session, generation) = (Id(u64::from_be_bytes(*session)), u32::from_be_bytes(*generation));
    let token = RefreshToken::new(session, generation, entropy, &KEY);
    let read = RefreshToken::parse(token.as_str(), &KEY);
    assert_eq!(read.as_ref(), Some(&token));
    assert_eq!(read.map(|read| (read.session(), read.generation())), Some((session, generation)));
    assert_eq!(RefreshToken::parse(token.as_str(), &[3; 32]), None);

    let place = usize::from(place) % token.as_str().len();
    let mut damaged = token.as_str().as_bytes().to_vec();
    damaged[place] = replacement;
    let damaged = String::from_utf8_lossy(&damaged);
    if damaged != token.as_str() {
        assert_eq!(RefreshToken::parse(&damaged, &KEY), None);
    }
    assert_eq!(RefreshToken::parse(&token.as_str()[..place], &KEY), None);
});
