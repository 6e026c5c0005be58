//! Medians and spreads of repeated measurements, and tables that people read.

/// The middle of repeated measurements and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    /// First and third quartile.
    pub low: f64,
    pub high: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` when there is nothing to sum up.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self {
            median: quantile(&sorted, 0.5),
            low: quantile(&sorted, 0.25),
            high: quantile(&sorted, 0.75),
            min,
            max,
        })
    }
}

/// Linear interpolation between the neighbours; `sorted` is not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// A Markdown table whose columns line up.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule = widths.iter().map(|width| "-".repeat(width + 2) + "|").collect::<String>();
    let mut text = line(head.to_vec());
    text.push_str(&format!("|{rule}\n"));
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_names_the_middle_and_the_ends() {
        let spread = Spread::of(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        let expected = Spread { median: 3.0, low: 2.0, high: 4.0, min: 1.0, max: 5.0 };
        assert_eq!(spread, Some(expected));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn an_even_number_of_values_has_its_median_between_two() {
        assert_eq!(Spread::of(&[1.0, 2.0]).map(|spread| spread.median), Some(1.5));
    }

    #[test]
    fn a_table_lines_up() {
        let text = table(&["a", "long"], &[vec!["wide cell".to_owned(), "1".to_owned()]]);
        let expected = "| a         | long |\n|-----------|------|\n| wide cell | 1    |\n";
        assert_eq!(text, expected);
    }
}
