//! Lists in pages. A token names the last key that was given out, so that what comes or goes between two pages neither
//! doubles nor hides the rest.

use super::errors::invalid;
use crate::limits::PAGE_SIZE;
use tonic::Status;

/// One page, and the token of the next; empty at the end.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: String,
}

/// Cuts the page after `token` out of `items`, which need not be sorted: pages run in the order of `key`.
pub fn cut<T>(
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
    page_size: u32,
    token: &str,
) -> Result<Page<T>, Status> {
    let size = match usize::try_from(page_size) {
        Ok(0) | Err(_) => PAGE_SIZE,
        Ok(size) => size.min(PAGE_SIZE),
    };
    items.sort_by_cached_key(&key);
    let start = match token {
        "" => 0,
        token => {
            let last = decode(token)?;
            items.partition_point(|item| key(item) <= last)
        }
    };
    let mut rest = items.split_off(start);
    let more = rest.len() > size;
    rest.truncate(size);
    let next = match rest.last() {
        Some(last) if more => encode(&key(last)),
        _ => String::new(),
    };
    Ok(Page { items: rest, next })
}

/// A key for "newest first" where the id grows with time.
#[must_use]
pub fn newest_first(id: u64) -> String {
    format!("{:020}", u64::MAX - id)
}

fn encode(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(token: &str) -> Result<String, Status> {
    let bytes: Option<Vec<u8>> = token
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| {
        invalid("BAD_PAGE_TOKEN", "this page_token wasn't given out here; begin again without one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_pages(items: &[u64], size: u32) -> Vec<Vec<u64>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let page = cut(items.to_vec(), |id| newest_first(*id), size, &token).unwrap();
            pages.push(page.items);
            token = page.next;
            if token.is_empty() || pages.len() > items.len() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_cover_everything_once_newest_first() {
        assert_eq!(all_pages(&[1, 2, 3, 4, 5], 2), vec![vec![5, 4], vec![3, 2], vec![1]]);
        assert_eq!(all_pages(&[1, 2, 3, 4], 2), vec![vec![4, 3], vec![2, 1]]);
        assert_eq!(all_pages(&[], 2), vec![Vec::<u64>::new()]);
        assert_eq!(all_pages(&[7, 70, 700], 0), vec![vec![700, 70, 7]]);
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended_whatever_happened_between() {
        let key = |name: &String| name.clone();
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let first = cut(names(&["a", "b", "c", "d"]), key, 2, "").unwrap();
        assert_eq!(first.items, names(&["a", "b"]));
        let second = cut(names(&["a", "aa", "c", "d"]), key, 2, &first.next).unwrap();
        assert_eq!(second, Page { items: names(&["c", "d"]), next: String::new() });
    }

    #[test]
    fn nobody_gets_more_than_the_limit_and_a_forged_token_is_refused() {
        let many: Vec<u64> = (0..PAGE_SIZE as u64 + 1).collect();
        let page = cut(many, |id| newest_first(*id), u32::MAX, "").unwrap();
        assert_eq!(page.items.len(), PAGE_SIZE);
        for token in ["zz", "abc", "ff"] {
            let error = cut(vec![1_u64], |id| newest_first(*id), 1, token).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{token}");
        }
    }
}
