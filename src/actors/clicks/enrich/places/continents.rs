//! The continent of each country, for databases that tell countries only.
//!
//! Where a country lies on two continents, the table says what the usual databases say: Russia and
//! Cyprus in Europe, Turkey and the Caucasus in Asia, Egypt in Africa.

/// Continent and its countries: every code of ISO 3166-1, and Kosovo.
const CONTINENTS: [(&str, &str); 7] = [
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG \
         ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK \
         MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI \
         LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI \
         PA PM PR SV SX TC TT US VC VG VI",
    ),
    ("OC", "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// The continent of a country, given its code in upper case.
pub(super) fn of_country(country: &str) -> Option<&'static str> {
    let wanted = country.as_bytes();
    let (continent, _) = CONTINENTS.iter().find(|(_, countries)| {
        countries.as_bytes().chunks(3).any(|code| code.get(..2) == Some(wanted))
    })?;
    Some(continent)
}

/// The code itself, if it is a continent's.
pub(super) fn known(code: &str) -> Option<&'static str> {
    CONTINENTS.iter().map(|(continent, _)| *continent).find(|continent| *continent == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ISO 3166-1 alpha-2 by first letter: the second letters in use.
    const ISO_3166: [(char, &str); 26] = [
        ('A', "DEFGILMOQRSTUWXZ"),
        ('B', "ABDEFGHIJLMNOQRSTVWYZ"),
        ('C', "ACDFGHIKLMNORUVWXYZ"),
        ('D', "EJKMOZ"),
        ('E', "CEGHRST"),
        ('F', "IJKMOR"),
        ('G', "ABDEFGHILMNPQRSTUWY"),
        ('H', "KMNRTU"),
        ('I', "DELMNOQRST"),
        ('J', "EMOP"),
        ('K', "EGHIMNPRWYZ"),
        ('L', "ABCIKRSTUVY"),
        ('M', "ACDEFGHKLMNOPQRSTUVWXYZ"),
        ('N', "ACEFGILOPRUZ"),
        ('O', "M"),
        ('P', "AEFGHKLMNRSTWY"),
        ('Q', "A"),
        ('R', "EOSUW"),
        ('S', "ABCDEGHIJKLMNORSTVXYZ"),
        ('T', "CDFGHJKLMNORTVWZ"),
        ('U', "AGMSYZ"),
        ('V', "ACEGINU"),
        ('W', "FS"),
        ('X', ""),
        ('Y', "ET"),
        ('Z', "AMW"),
    ];

    fn codes() -> Vec<String> {
        let codes = ISO_3166.iter().flat_map(|(first, seconds)| {
            seconds.chars().map(move |second| format!("{first}{second}"))
        });
        codes.collect()
    }

    #[test]
    fn every_country_has_one_continent_and_nothing_else_has() {
        let mut expected = codes();
        assert_eq!(expected.len(), 249);
        for code in &expected {
            assert!(of_country(code).is_some(), "{code} has no continent");
        }
        expected.push("XK".to_owned());
        expected.sort_unstable();
        let mut listed: Vec<_> =
            CONTINENTS.iter().flat_map(|(_, countries)| countries.split(' ')).collect();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }

    #[test]
    fn countries_lie_where_people_look_for_them() {
        for (country, continent) in
            [("DE", "EU"), ("US", "NA"), ("BR", "SA"), ("JP", "AS"), ("KE", "AF"), ("NZ", "OC")]
        {
            assert_eq!(of_country(country), Some(continent));
        }
        for nothing in ["", "D", "E ", "DEU", "XX", "de"] {
            assert_eq!(of_country(nothing), None, "{nothing:?}");
        }
        assert_eq!(known("EU"), Some("EU"));
        assert_eq!(known("XX"), None);
    }
}
