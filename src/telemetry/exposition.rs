//! Metrics in the plain text format of Prometheus, from OpenMetrics text: for scrapers that ask for
//! nothing newer, and for people.

/// The same samples. Families of counters are called as their samples are, and there is no end
/// mark.
pub fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(named) = line.strip_prefix("# HELP ") {
            help = named.split_once(' ');
        } else if let Some((family, kind)) =
            line.strip_prefix("# TYPE ").and_then(|named| named.split_once(' '))
        {
            let ending = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take().filter(|(described, _)| *described == family) {
                text.push_str(&format!("# HELP {family}{ending} {words}\n"));
            }
            text.push_str(&format!("# TYPE {family}{ending} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_called_as_their_samples_are() {
        let open = "# HELP shunt_a Things.\n# TYPE shunt_a counter\nshunt_a_total{b=\"c\"} 1\n\
                    # HELP shunt_d Time.\n# TYPE shunt_d histogram\n# UNIT shunt_d seconds\n\
                    shunt_d_sum 0.5\n# EOF\n";
        let expected = "# HELP shunt_a_total Things.\n# TYPE shunt_a_total counter\n\
                        shunt_a_total{b=\"c\"} 1\n# HELP shunt_d Time.\n\
                        # TYPE shunt_d histogram\nshunt_d_sum 0.5\n";
        assert_eq!(plain(open), expected);
    }
}
