//! Conditions of lists that grow filter by filter, and keyset paging.

use super::Param;
use crate::app::volumes::SortDirection;

/// A condition that grows, and its parameters.
pub(super) struct Select {
    pub(super) condition: String,
    pub(super) params: Vec<Param>,
}

impl Select {
    /// Everything.
    pub(super) fn all() -> Self {
        Select {
            condition: "1 = 1".to_owned(),
            params: Vec::new(),
        }
    }

    /// Binds a value and returns its place.
    pub(super) fn param(&mut self, param: Param) -> String {
        self.params.push(param);
        format!("?{}", self.params.len())
    }

    /// Only rows with this value.
    pub(super) fn equal(&mut self, column: &str, param: Param) {
        let place = self.param(param);
        self.condition.push_str(&format!(" AND {column} = {place}"));
    }

    /// Only rows with this text in a column, in the same case.
    pub(super) fn has_part(&mut self, column: &str, part: &str) {
        // Nothing is in every text, and REPLACE finds it in none.
        if part.is_empty() {
            return;
        }
        let place = self.param(part.into());
        self.condition
            .push_str(&format!(" AND REPLACE({column}, {place}, '') <> {column}"));
    }

    /// Only rows with one of these values; no values mean all rows.
    pub(super) fn one_of(&mut self, column: &str, values: impl Iterator<Item = Param>) {
        let places: Vec<String> = values.map(|value| self.param(value)).collect();
        if !places.is_empty() {
            self.condition
                .push_str(&format!(" AND {column} IN ({})", places.join(", ")));
        }
    }

    /// Only rows behind these sort values.
    pub(super) fn behind(&mut self, sort: &[(&str, SortDirection)], values: Vec<Param>) {
        let columns: Vec<&str> = sort.iter().map(|(column, _)| *column).collect();
        let places: Vec<String> = values.into_iter().map(|value| self.param(value)).collect();
        let first = sort.first().map(|(_, direction)| *direction);
        if sort.iter().all(|(_, direction)| Some(*direction) == first) {
            // A row value, which both databases look up in an index.
            let sign = first.map_or(">", beyond);
            self.condition.push_str(&format!(
                " AND ({}) {sign} ({})",
                columns.join(", "),
                places.join(", ")
            ));
            return;
        }
        let alternatives: Vec<String> = (0..sort.len())
            .map(|last| {
                let mut terms: Vec<String> = (0..last)
                    .map(|place| format!("{} = {}", columns[place], places[place]))
                    .collect();
                terms.push(format!(
                    "{} {} {}",
                    columns[last],
                    beyond(sort[last].1),
                    places[last]
                ));
                format!("({})", terms.join(" AND "))
            })
            .collect();
        self.condition
            .push_str(&format!(" AND ({})", alternatives.join(" OR ")));
    }
}

/// The text behind `ORDER BY`.
pub(super) fn order(sort: &[(&str, SortDirection)]) -> String {
    let order: Vec<String> = sort
        .iter()
        .map(|(column, direction)| {
            let word = match direction {
                SortDirection::Ascending => "ASC",
                SortDirection::Descending => "DESC",
            };
            format!("{column} {word}")
        })
        .collect();
    order.join(", ")
}

/// A number of rows.
pub(super) fn count(number: usize) -> Param {
    Param::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn beyond(direction: SortDirection) -> &'static str {
    match direction {
        SortDirection::Ascending => ">",
        SortDirection::Descending => "<",
    }
}
