//! Pages of lists.

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// True when there are more behind the last item.
    pub has_more: bool,
    /// How many match in all, when the caller asked for it.
    pub total: Option<u64>,
}

impl<T> Page<T> {
    /// A page of what was found when one more than `limit` was asked for.
    pub(super) fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        Page {
            items,
            has_more,
            total: None,
        }
    }

    /// Nothing matches.
    pub(super) fn empty(with_total: bool) -> Self {
        Page {
            items: Vec::new(),
            has_more: false,
            total: with_total.then_some(0),
        }
    }
}
