//! The configuration reference is generated: from the doc lines of the sections and the defaults.
//!
//! `SHUNT_BLESS=1 cargo test --test tidy` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;

use shunt::config::Settings;
use shunt::service::oidc::ProviderConfig;
use toml::Table;

use crate::sources::root;

const REFERENCE: &str = "docs/configuration.md";
const INTRODUCTION: &str = "# Configuration\n\n\
    Generated from the sources; do not edit.\n\n\
    Shunt needs no configuration. What you set is read from `--config FILE`, or `SHUNT_CONFIG`,\n\
    or `./shunt.toml` if it is there, and then from the environment: every key is also\n\
    `SHUNT_<SECTION>__<KEY>`, a list written as a TOML array, an empty variable as good as none.\n\
    `shunt check-config` names every mistake at once, `shunt print-config` shows what is in\n\
    force. Lengths of time are written like `250ms` or `90d`, sizes like `64MiB`.\n";

/// Doc lines of the struct and of each field, as found in the sources.
struct Documented {
    about: String,
    fields: Vec<(String, String)>,
}

/// Finds `[section]` structs: their first doc line starts with the section's name in brackets.
fn documented_sections() -> BTreeMap<String, Documented> {
    let mut sections = BTreeMap::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("sources are readable") {
            let path = entry.expect("sources are readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(path).expect("sources are UTF-8");
                take_sections(&text, &mut sections);
            }
        }
    }
    sections
}

fn take_sections(text: &str, sections: &mut BTreeMap<String, Documented>) {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("/// `[") else { continue };
        let Some((name, rest)) = first.split_once("]`") else { continue };
        let mut about = rest.trim_start_matches(':').trim().to_owned();
        let mut fields = Vec::new();
        let mut doc = String::new();
        let mut inside = false;
        for line in lines.by_ref() {
            let line = line.trim();
            if let Some(more) = line.strip_prefix("///") {
                let target = if inside { &mut doc } else { &mut about };
                if !target.is_empty() {
                    target.push(' ');
                }
                target.push_str(more.trim());
            } else if line.starts_with("pub struct") {
                inside = true;
                if line.ends_with("{}") {
                    break;
                }
            } else if let Some(field) = line.strip_prefix("pub ").filter(|_| inside) {
                let key = field.split(':').next().unwrap_or(field).to_owned();
                fields.push((key, std::mem::take(&mut doc)));
            } else if line == "}" {
                break;
            }
        }
        sections.insert(name.to_owned(), Documented { about, fields });
    }
}

fn render() -> String {
    let defaults: Table = Settings::default().to_toml().parse().expect("defaults are TOML");
    let documented = documented_sections();
    let mut text = INTRODUCTION.to_owned();
    for (name, section) in &defaults {
        let about = documented.get(name).unwrap_or_else(|| panic!("`[{name}]` is not documented"));
        let _ = write!(text, "\n## `[{name}]`\n\n{}\n\n", about.about);
        let section = section.as_table().expect("sections are tables");
        render_keys(&mut text, &format!("{name}."), &about.fields, section);
        for (list, defaults) in lists_of_tables().iter().filter(|(list, _)| list.0 == *name) {
            let list = format!("{}.{}", list.0, list.1);
            let about = documented.get(&format!("[{list}]"));
            let about = about.unwrap_or_else(|| panic!("`[[{list}]]` is not documented"));
            let _ = write!(text, "\n### `[[{list}]]`\n\n{}\n\n", about.about);
            render_keys(&mut text, "", &about.fields, defaults);
        }
    }
    text
}

/// Keys whose values are lists of tables, and what a table has where nothing is said.
fn lists_of_tables() -> Vec<((&'static str, &'static str), Table)> {
    let provider = Table::try_from(ProviderConfig::default()).expect("defaults are TOML");
    vec![(("oidc", "providers"), provider)]
}

fn render_keys(text: &mut String, prefix: &str, fields: &[(String, String)], defaults: &Table) {
    text.push_str("| key | default | meaning |\n|---|---|---|\n");
    for (key, doc) in fields {
        assert!(!doc.is_empty(), "`{prefix}{key}` has no doc line");
        let default = defaults.get(key).map_or("unset".to_owned(), |value| format!("`{value}`"));
        let _ = writeln!(text, "| `{prefix}{key}` | {default} | {} |", doc.replace('|', "\\|"));
    }
}

#[test]
fn the_configuration_reference_is_up_to_date() {
    let rendered = render();
    let path = root().join(REFERENCE);
    if std::env::var_os("SHUNT_BLESS").is_some() {
        std::fs::write(&path, &rendered).expect("the reference is writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == rendered, "{REFERENCE} is out of date; run with SHUNT_BLESS=1");
}
