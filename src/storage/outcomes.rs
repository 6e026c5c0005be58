//! Outcomes of imports as letters, which is how stores keep them.

use super::Imported;

impl Imported {
    /// What stands for it where outcomes are kept. To which code a link was moved is not.
    pub fn letter(&self) -> char {
        match self {
            Self::Created | Self::Recoded(_) => 'c',
            Self::Unchanged => 'u',
            Self::Taken => 't',
            Self::ExternalIdTaken => 'e',
        }
    }

    /// Back from [`Imported::letter`].
    pub fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'c' => Self::Created,
            'u' => Self::Unchanged,
            't' => Self::Taken,
            'e' => Self::ExternalIdTaken,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::{Code, DomainId, LinkKey};

    #[test]
    fn letters_read_back_but_for_the_code() {
        let all =
            [Imported::Created, Imported::Unchanged, Imported::Taken, Imported::ExternalIdTaken];
        for outcome in all {
            assert_eq!(Imported::from_letter(outcome.letter()), Some(outcome));
        }
        let code = Code::parse(b"a").expect("a code");
        let moved = Imported::Recoded(LinkKey::new(DomainId::DEFAULT, code));
        assert_eq!(Imported::from_letter(moved.letter()), Some(Imported::Created));
        assert_eq!(Imported::from_letter('x'), None);
    }
}
