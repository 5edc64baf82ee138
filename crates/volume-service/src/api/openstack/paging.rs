//! The paging and sorting parameters that all lists share.

use uuid::Uuid;

use super::fault::Fault;
use crate::app::Page;
use crate::app::volumes::{SortDirection, SortKey};

/// Largest `offset`, Cinder's largest database integer.
const OFFSET_MAX: u64 = 0x7fff_ffff;
/// Keys that a list is sorted by at most: the condition that finds a page grows with their square.
const SORT_KEYS_MAX: usize = 16;

/// A request's query, taken apart: paging and sorting here, everything else in `filters`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// Most items; `None` for the configured page size.
    pub limit: Option<usize>,
    /// The last item of the page before.
    pub marker: Option<String>,
    /// How many to skip.
    pub offset: usize,
    /// Sort keys and directions as sent, most significant first.
    pub sort: Vec<(String, String)>,
    /// Whatever else was in the query, in its order.
    pub filters: Vec<(String, String)>,
    /// The whole query, for the next link.
    pub query: Vec<(String, String)>,
}

impl Paging {
    /// Takes a raw query string apart; the sentence of a refusal is Cinder's.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut paging = Paging::default();
        let (mut sort, mut sort_key, mut sort_dir) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let (name, value) = (name.into_owned(), value.into_owned());
            paging.query.push((name.clone(), value.clone()));
            match name.as_str() {
                "limit" => paging.limit = Some(number("limit", &value)?),
                "offset" => paging.offset = number("offset", &value)?,
                "marker" => paging.marker = Some(value),
                "sort" => sort = Some(value),
                "sort_key" => sort_key = Some(value),
                "sort_dir" => sort_dir = Some(value),
                _ => paging.filters.push((name, value)),
            }
        }
        let keys = sort.as_ref().map_or(0, |sort| sort.split(',').count());
        if keys > SORT_KEYS_MAX {
            return Err(format!(
                "sort has {keys} keys, and at most {SORT_KEYS_MAX} are taken"
            ));
        }
        paging.sort = match (sort, sort_key, sort_dir) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err("The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' parameter.".to_owned());
            }
            (Some(sort), None, None) => sort
                .trim()
                .split(',')
                .map(|part| {
                    let (key, direction) = part.split_once(':').unwrap_or((part, ""));
                    (key.trim().to_owned(), direction.trim().to_owned())
                })
                .collect(),
            (None, None, None) => Vec::new(),
            (None, key, direction) => vec![(
                key.unwrap_or_else(|| "created_at".to_owned())
                    .trim()
                    .to_owned(),
                direction.unwrap_or_default().trim().to_owned(),
            )],
        };
        Ok(paging)
    }

    /// As [`Paging::parse`], for handlers.
    pub(super) fn of(query: Option<&str>) -> super::fault::Result<Self> {
        Paging::parse(query.unwrap_or_default()).map_err(Fault::BadRequest)
    }

    /// Removes a filter and returns its last value.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let mut last = None;
        self.filters.retain_mut(|(key, value)| {
            let hit = key == name;
            if hit {
                last = Some(std::mem::take(value));
            }
            !hit
        });
        last
    }

    /// Whether a page leads on to another: when there is more, and, as in Cinder, whenever it has as many items as were asked for.
    pub(super) fn leads_on<T>(&self, page: &Page<T>) -> bool {
        let length = page.items.len();
        page.has_more || (length > 0 && self.limit == Some(length))
    }

    /// The marker, which is an id.
    pub(super) fn marker_id(&self) -> super::fault::Result<Option<Uuid>> {
        let Some(marker) = &self.marker else {
            return Ok(None);
        };
        Uuid::parse_str(marker)
            .map(Some)
            .map_err(|_| Fault::BadRequest(format!("marker not found: {marker}")))
    }

    /// The sort keys as volumes know them.
    pub(super) fn volume_sort(&self) -> super::fault::Result<Vec<(SortKey, SortDirection)>> {
        self.sort
            .iter()
            .map(|(key, direction)| Ok((sort_key(key)?, sort_direction(direction)?)))
            .collect()
    }
}

fn number(name: &str, value: &str) -> Result<usize, String> {
    let number: i128 = value
        .trim()
        .parse()
        .map_err(|_| format!("{name} param must be an integer"))?;
    match u64::try_from(number) {
        Ok(number) if number <= OFFSET_MAX => Ok(number as usize),
        Ok(_) if name == "limit" => Ok(OFFSET_MAX as usize),
        Ok(_) => Err(format!("{name} param must be at most {OFFSET_MAX}")),
        Err(_) => Err(format!("{name} param must be positive")),
    }
}

fn sort_key(key: &str) -> super::fault::Result<SortKey> {
    match key {
        "created_at" => Ok(SortKey::CreatedAt),
        "updated_at" => Ok(SortKey::UpdatedAt),
        "name" | "display_name" => Ok(SortKey::Name),
        "size" => Ok(SortKey::Size),
        "status" => Ok(SortKey::Status),
        "availability_zone" => Ok(SortKey::Zone),
        "bootable" => Ok(SortKey::Bootable),
        "id" => Ok(SortKey::Id),
        _ => Err(Fault::BadRequest(
            "Invalid input received: Sort key supplied is invalid.".to_owned(),
        )),
    }
}

/// The direction of a sort key.
pub(super) fn sort_direction(direction: &str) -> super::fault::Result<SortDirection> {
    match direction {
        "asc" => Ok(SortDirection::Ascending),
        "" | "desc" => Ok(SortDirection::Descending),
        _ => Err(Fault::BadRequest(
            "Invalid input received: Unknown sort direction, must be 'desc' or 'asc'.".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_query_apart() {
        let mut paging =
            Paging::parse("limit=2&marker=m&offset=1&sort=name:asc,size&name=a%20b&name=c&x=1")
                .expect("a good query");
        assert_eq!(paging.limit, Some(2));
        assert_eq!(paging.marker.as_deref(), Some("m"));
        assert_eq!(paging.offset, 1);
        assert_eq!(
            paging.volume_sort().expect("good keys"),
            [
                (SortKey::Name, SortDirection::Ascending),
                (SortKey::Size, SortDirection::Descending)
            ]
        );
        assert_eq!(paging.take("name").as_deref(), Some("c"));
        assert_eq!(paging.filters, [("x".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn refuses_in_cinders_words() {
        let refusal = |query: &str| Paging::parse(query).expect_err("a refusal");
        assert_eq!(refusal("limit=-1"), "limit param must be positive");
        assert_eq!(refusal("limit=x"), "limit param must be an integer");
        assert_eq!(refusal("limit=1.5"), "limit param must be an integer");
        assert_eq!(refusal("offset=-1"), "offset param must be positive");
        assert!(refusal("offset=99999999999").contains("at most"));
        assert!(refusal("sort=a&sort_key=b").contains("deprecated"));
        assert!(refusal(&format!("sort={}", "id,".repeat(16))).contains("at most 16"));
        assert_eq!(
            Paging::parse("limit=99999999999").expect("clamped").limit,
            Some(0x7fff_ffff)
        );
        let odd = Paging::parse("sort=password:asc").expect("parsed");
        assert!(odd.volume_sort().is_err());
    }
}
