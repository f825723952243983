//! A chart of ratios: a bar for each row, its spread, its goal. SVG, by hand.

use std::fmt::Write as _;

use serde_json::Value;

const BAR: f64 = 22.0;
const LABELS: f64 = 250.0;
const BARS: f64 = 420.0;

/// The chart of a family.
pub(super) fn of_ratios(family: &str, rows: &[&Value]) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let goal = |row: &Value| row["goal"]["at_most"].as_f64().or(row["goal"]["at_least"].as_f64());
    let ends = rows.iter().map(|row| number(&row["ratio"]["p90"]).max(goal(row).unwrap_or(0.0)));
    let most = ends.fold(0.1, f64::max) * 1.05;
    let at = |value: f64| LABELS + BARS * value / most;
    #[allow(clippy::cast_precision_loss, reason = "a number of rows")]
    let height = 40.0 + BAR * rows.len() as f64;
    let width = LABELS + BARS + 70.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"18\" font-weight=\"bold\">{}: figure ÷ floor, p10 to p90; the red line is the goal</text>\n",
        escaped(family)
    );
    for (row, n) in rows.iter().zip(0_u32..) {
        let top = 28.0 + BAR * f64::from(n);
        let (name, ratio) = (row["name"].as_str().unwrap_or_default(), &row["ratio"]);
        let (median, p10, p90) = (number(&ratio["median"]), number(&ratio["p10"]), number(&ratio["p90"]));
        let (middle, text) = (top + 8.0, top + 12.0);
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{text:.1}\">{}</text><rect x=\"{LABELS}\" y=\"{top:.1}\" width=\"{:.1}\" \
             height=\"16\" fill=\"#7aa6c2\"/><line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" \
             stroke=\"#24405a\" stroke-width=\"2\"/><text x=\"{:.1}\" y=\"{text:.1}\">{median:.2}</text>",
            escaped(name),
            at(median) - LABELS,
            at(p10),
            at(p90),
            at(median.max(p90)) + 6.0,
        );
        if let Some(goal) = goal(row) {
            let (x, bottom) = (at(goal), top + 18.0);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\" stroke=\"#c0392b\" \
                 stroke-width=\"2\"/>",
                top - 2.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_ratio_and_the_goal_stands_where_it_is() {
        let ratio = json!({"median": 1.0, "p10": 0.9, "p90": 2.0});
        let row = json!({"name": "a/b<c", "ratio": ratio, "goal": {"at_most": 1.0}});
        let svg = of_ratios("a", &[&row]);
        assert!(svg.contains("a/b&lt;c"));
        // The longest value is 2, and a twentieth is left free.
        assert!(svg.contains("width=\"200.0\""), "{svg}");
        assert!(svg.contains("<line x1=\"450.0\" x2=\"450.0\""), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_row_without_a_goal_has_no_red_line() {
        let row = json!({"name": "a/b", "ratio": {"median": 1.0, "p10": 1.0, "p90": 1.0}, "goal": null});
        assert!(!of_ratios("a", &[&row]).contains("#c0392b"));
    }
}
