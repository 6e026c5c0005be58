//! Reading what callgrind writes: instructions by function, calls by function.

use std::collections::HashMap;

/// The sums of one dump.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Instructions of each function itself, without what it calls.
    pub instructions: HashMap<String, u64>,
    /// How often each function was called.
    pub calls: HashMap<String, u64>,
}

impl Profile {
    pub fn parse(text: &str) -> Self {
        let mut names: HashMap<&str, String> = HashMap::new();
        let mut profile = Self::default();
        let mut function = String::new();
        let mut called = String::new();
        let mut skip_cost_of_call = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = resolve(name, &mut names);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                called = resolve(name, &mut names);
            } else if let Some(rest) = line.strip_prefix("calls=") {
                let n = rest.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                *profile.calls.entry(called.clone()).or_default() += n;
                // The next line is the cost of the callee, which counts itself.
                skip_cost_of_call = true;
            } else if line
                .starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            {
                if std::mem::take(&mut skip_cost_of_call) {
                    continue;
                }
                let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).unwrap_or(0);
                *profile.instructions.entry(function.clone()).or_default() += cost;
            }
        }
        profile
    }

    /// Instructions of all functions whose name satisfies `pick`.
    pub fn instructions_of(&self, pick: impl Fn(&str) -> bool) -> u64 {
        self.instructions.iter().filter(|(name, _)| pick(name)).map(|(_, n)| n).sum()
    }

    pub fn calls_of(&self, names: &[&str]) -> u64 {
        self.calls.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, n)| n).sum()
    }
}

/// Names are written once as `(7) name` and from then on as `(7)`.
fn resolve<'a>(text: &'a str, names: &mut HashMap<&'a str, String>) -> String {
    let Some((id, name)) = text.split_once(')') else { return text.to_owned() };
    let name = name.trim_start();
    if !name.is_empty() {
        // Recursion levels are the same function.
        let name = name.split('\'').next().unwrap_or(name);
        names.insert(id, name.to_owned());
    }
    names.get(id).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cost_and_calls_are_told_apart() {
        let profile = Profile::parse(
            "version: 1\nevents: Ir\n\nfn=(1) main\n10 100\n+2 50\ncfn=(2) memset\n\
             calls=3 20\n* 900\n+1 7\n\nfn=(2)\n20 900\ncfn=(2)\ncalls=1 20\n20 5\n",
        );
        assert_eq!(profile.instructions["main"], 157);
        assert_eq!(profile.instructions["memset"], 900);
        assert_eq!(profile.calls_of(&["memset"]), 4);
        assert_eq!(profile.instructions_of(|name| name.contains("mem")), 900);
    }
}
