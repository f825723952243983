//! A row: a figure, its floor, its goal, and how it is shown in a table, in JSON and in the documentation.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    Bench,
    measure::{Fault, Measured, Spread},
};

/// What a row is to reach: of the ratio where there is a floor, else of the figure itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    None,
}

/// What came of a row.
#[derive(Debug)]
pub(crate) enum Outcome {
    Measured(Measured),
    /// What it needs is not here.
    NotRun(String),
}

impl From<Measured> for Outcome {
    fn from(measured: Measured) -> Self {
        Self::Measured(measured)
    }
}

pub(crate) type Run = Box<dyn Fn(&Bench) -> Result<Outcome, Fault>>;

/// Something to measure.
pub(crate) struct Row {
    /// `family/thing/case`, by which it is asked for.
    pub(crate) name: String,
    /// What is measured.
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    /// What it is divided by; empty where nothing is.
    pub(crate) floor: String,
    pub(crate) goal: Goal,
    /// Left out by `--quick`, since it takes minutes.
    pub(crate) slow: bool,
    pub(crate) run: Run,
}

impl Row {
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        what: impl Into<String>,
        run: impl Fn(&Bench) -> Result<Outcome, Fault> + 'static,
    ) -> Self {
        let (floor, goal) = (String::new(), Goal::None);
        Self { name: name.into(), what: what.into(), unit, floor, goal, slow: false, run: Box::new(run) }
    }

    pub(crate) fn floor(mut self, floor: impl Into<String>) -> Self {
        self.floor = floor.into();
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    pub(crate) fn slow(mut self) -> Self {
        self.slow = true;
        self
    }
}

/// What a row came to.
pub(crate) struct Judged {
    pub(crate) name: String,
    what: String,
    unit: &'static str,
    floor: String,
    goal: Goal,
    pub(crate) result: Result<Figures, String>,
}

/// The numbers of a row.
pub(crate) struct Figures {
    subject: Spread,
    floor: Option<Spread>,
    ratio: Option<Spread>,
    notes: Vec<String>,
}

impl Judged {
    pub(crate) fn new(row: &Row, outcome: Result<Outcome, Fault>) -> Self {
        let result = match outcome {
            Err(error) => Err(format!("failed: {error}")),
            Ok(Outcome::NotRun(why)) => Err(format!("not run: {why}")),
            Ok(Outcome::Measured(measured)) => Figures::of(measured),
        };
        let Row { name, what, unit, floor, goal, .. } = row;
        let (name, what, floor) = (name.clone(), what.clone(), floor.clone());
        Self { name, what, unit, floor, goal: *goal, result }
    }

    /// Whether something broke, other than a goal.
    pub(crate) fn failed(&self) -> bool {
        self.result.as_ref().is_err_and(|why| why.starts_with("failed"))
    }

    fn verdict(&self, figures: &Figures) -> &'static str {
        let judged = figures.judged();
        let holds = |value: f64| match self.goal {
            Goal::AtMost(most) => value <= most,
            Goal::AtLeast(least) => value >= least,
            Goal::None => true,
        };
        let surely = holds(judged.p10) == holds(judged.p90);
        match (self.goal == Goal::None, holds(judged.median), surely && !judged.is_noisy()) {
            (true, _, true) => "",
            (true, _, false) => "noisy",
            (false, true, true) => "met",
            (false, true, false) => "met, noisy",
            (false, false, true) => "missed",
            (false, false, false) => "missed, noisy",
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::AtMost(most) => format!("≤ {}", short(most)),
            Goal::AtLeast(least) => format!("≥ {}", short(least)),
            Goal::None => "-".to_owned(),
        }
    }

    /// A line for a terminal.
    pub(crate) fn line(&self) -> String {
        let figures = match &self.result {
            Ok(figures) => figures,
            Err(why) => return format!("{:<34} {why}", self.name),
        };
        let Figures { subject, floor, ratio, .. } = figures;
        let floor = floor.map_or_else(|| "-".to_owned(), |floor| short(floor.median));
        let judged = ratio.map_or_else(|| "-".to_owned(), |ratio| short(ratio.median));
        let mut line = format!(
            "{:<34} {:>10} {:<6} {floor:>10} {judged:>8} {:>17} {:>9}  {}",
            self.name,
            short(subject.median),
            self.unit,
            format!("{} - {}", short(figures.judged().p10), short(figures.judged().p90)),
            self.goal_text(),
            self.verdict(figures),
        );
        for note in &figures.notes {
            let _ = write!(line, "\n{:<34}   {note}", "");
        }
        line
    }

    /// A row of a table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let figures = match &self.result {
            Ok(figures) => figures,
            Err(why) => return format!("| `{}` | {} | | | {why} | | |", self.name, self.what),
        };
        let Figures { subject, floor, ratio, notes } = figures;
        let floor = match floor {
            Some(floor) => format!("{} {}: {}", short(floor.median), self.unit, self.floor),
            None => "-".to_owned(),
        };
        let judged = figures.judged();
        let spread = format!("{} – {}", short(judged.p10), short(judged.p90));
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| short(ratio.median));
        let verdict = self.verdict(figures);
        let goal = if self.goal == Goal::None {
            verdict.to_owned()
        } else {
            format!("{} {verdict}", self.goal_text())
        };
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        format!(
            "| `{}` | {}{notes} | {} {} | {floor} | {ratio} | {spread} | {goal} |",
            self.name,
            self.what,
            short(subject.median),
            self.unit,
        )
    }

    pub(crate) fn json(&self) -> Value {
        let spread = |spread: Spread| json!({"p10": spread.p10, "median": spread.median, "p90": spread.p90});
        let goal = match self.goal {
            Goal::AtMost(most) => json!({"at_most": most}),
            Goal::AtLeast(least) => json!({"at_least": least}),
            Goal::None => Value::Null,
        };
        let mut row = json!({"name": self.name, "what": self.what, "unit": self.unit, "goal": goal});
        match &self.result {
            Err(why) => row["result"] = json!(why),
            Ok(figures) => {
                row["figure"] = spread(figures.subject);
                row["notes"] = json!(figures.notes);
                row["result"] = json!(self.verdict(figures));
                if let (Some(floor), Some(ratio)) = (figures.floor, figures.ratio) {
                    row["floor"] = spread(floor);
                    row["floor"]["what"] = json!(self.floor);
                    row["ratio"] = spread(ratio);
                }
            }
        }
        row
    }
}

impl Figures {
    fn of(measured: Measured) -> Result<Self, String> {
        let subject = Spread::of(&measured.subject).ok_or("failed: no round was measured")?;
        let (floor, ratio) = (Spread::of(&measured.floor), Spread::of(&measured.ratios()));
        Ok(Self { subject, floor, ratio, notes: measured.notes })
    }

    /// What the goal is asked of.
    fn judged(&self) -> Spread {
        self.ratio.unwrap_or(self.subject)
    }
}

/// The head of the table that [`Judged::line`] fills.
pub(crate) fn head() -> String {
    format!(
        "{:<34} {:>10} {:<6} {:>10} {:>8} {:>17} {:>9}",
        "row", "figure", "", "floor", "ratio", "p10 - p90", "goal"
    )
}

/// A number with three digits that count.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 1e6 => format!("{:.2}M", value / 1e6),
        large if large >= 1e4 => format!("{:.1}k", value / 1e3),
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(goal: Goal, subject: &[f64], floor: &[f64]) -> Judged {
        let row = Row::new("family/row", "ns", "A thing", |_| Ok(Outcome::NotRun(String::new())))
            .floor("a primitive")
            .goal(goal);
        let measured = Measured { subject: subject.to_vec(), floor: floor.to_vec(), notes: Vec::new() };
        Judged::new(&row, Ok(measured.into()))
    }

    fn verdict(judged: &Judged) -> &'static str {
        judged.verdict(judged.result.as_ref().ok().unwrap())
    }

    #[test]
    fn a_goal_is_asked_of_the_ratio_where_there_is_a_floor() {
        assert_eq!(verdict(&judged(Goal::AtMost(0.5), &[40.0; 5], &[100.0; 5])), "met");
        assert_eq!(verdict(&judged(Goal::AtMost(0.5), &[60.0; 5], &[100.0; 5])), "missed");
        assert_eq!(verdict(&judged(Goal::AtLeast(0.5), &[60.0; 5], &[100.0; 5])), "met");
        assert_eq!(verdict(&judged(Goal::AtLeast(50.0), &[60.0; 5], &[])), "met");
        assert_eq!(verdict(&judged(Goal::AtLeast(0.5), &[40.0; 5], &[100.0; 5])), "missed");
    }

    #[test]
    fn what_the_rounds_disagree_on_is_called_noisy() {
        let wide = [0.4, 0.45, 0.45, 0.6, 0.7];
        assert_eq!(verdict(&judged(Goal::AtMost(0.5), &wide, &[1.0; 5])), "met, noisy");
        assert_eq!(verdict(&judged(Goal::None, &wide, &[1.0; 5])), "noisy");
        // Little spread, but the goal lies within it.
        assert_eq!(verdict(&judged(Goal::AtMost(0.5), &[0.48, 0.49, 0.52], &[1.0; 3])), "met, noisy");
    }

    #[test]
    fn a_row_tells_figure_floor_ratio_and_goal() {
        let row = judged(Goal::AtMost(0.5), &[40.0; 5], &[100.0; 5]);
        assert_eq!(
            row.markdown(),
            "| `family/row` | A thing | 40.0 ns | 100 ns: a primitive | 0.40 | 0.40 – 0.40 | ≤ 0.50 met |"
        );
        let json = row.json();
        assert_eq!(json["ratio"]["median"], 0.4);
        assert_eq!(json["goal"]["at_most"], 0.5);
        assert_eq!(json["result"], "met");
    }

    #[test]
    fn a_row_without_rounds_has_failed_and_one_without_its_server_has_not() {
        assert!(judged(Goal::None, &[], &[]).failed());
        let row = Row::new("a/b", "ns", "A thing", |_| Ok(Outcome::NotRun(String::new())));
        assert!(!Judged::new(&row, Ok(Outcome::NotRun("no server".to_owned()))).failed());
        assert!(Judged::new(&row, Err("broken".into())).failed());
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown: Vec<_> = [0.333, 12.34, 123.4, 5432.1, 54321.0, 5_432_100.0].map(short).into();
        assert_eq!(shown, ["0.33", "12.3", "123", "5432", "54.3k", "5.43M"]);
    }
}
