//! Which of a session's datagrams have come: each is taken once.

/// How far behind the newest a datagram may be, and still be told from one that has come.
pub(super) const WINDOW: u64 = 1024;

const WORDS: usize = (WINDOW / 64) as usize;

/// The datagrams of one session since it was introduced.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// What had been sent when it was introduced: nothing up to it is taken.
    start: u64,
    /// The newest that came.
    newest: u64,
    /// Those up to it that came; number `n` at bit `n % WINDOW`.
    seen: [u64; WORDS],
    /// How many came.
    came: u64,
}

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Newer than all that came.
    Newest,
    /// One that others have overtaken.
    Late,
    /// One that came already, or may have.
    Replayed,
}

impl Window {
    /// Of a session that had sent `start` datagrams.
    pub(super) const fn new(start: u64) -> Self {
        Self { start, newest: start, seen: [0; WORDS], came: 0 }
    }

    /// Takes a datagram, if it has not come before.
    pub(super) fn take(&mut self, number: u64) -> Place {
        if number > self.newest {
            // Numbers between them have not come.
            for skipped in self.newest + 1..=number.min(self.newest.saturating_add(WINDOW)) {
                self.clear(skipped);
            }
            self.newest = number;
            self.mark(number);
            return Place::Newest;
        }
        if number <= self.start || self.newest - number >= WINDOW || self.has(number) {
            return Place::Replayed;
        }
        self.mark(number);
        Place::Late
    }

    /// How many are missing: each may still come.
    pub(super) const fn missing(&self) -> u64 {
        self.newest - self.start - self.came
    }

    /// The newest that came.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] |= bit;
        self.came += 1;
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] &= !bit;
    }

    const fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }
}

const fn place(number: u64) -> (usize, u64) {
    ((number % WINDOW / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_is_taken_once_and_what_is_missing_is_known() {
        let mut window = Window::new(10);
        assert_eq!(window.take(10), Place::Replayed, "it was sent before");
        assert_eq!((window.take(11), window.take(11)), (Place::Newest, Place::Replayed));
        assert_eq!((window.take(15), window.missing()), (Place::Newest, 3));
        assert_eq!((window.take(13), window.take(13), window.missing()), (Place::Late, Place::Replayed, 2));
        assert_eq!((window.take(u64::MAX), window.newest()), (Place::Newest, u64::MAX));
        assert_eq!(window.take(14), Place::Replayed, "too long ago to tell");
    }

    proptest! {
        /// Against a set of all numbers that came.
        #[test]
        fn it_is_as_a_set_would_be(
            start in 0u64..100,
            steps in prop::collection::vec(prop_oneof![
                0u64..20, 0u64..3000
            ], 0..300),
            back in prop::collection::vec(0u64..1500, 300),
        ) {
            let (mut window, mut came, mut newest) = (Window::new(start), BTreeSet::new(), start);
            for (step, back) in steps.into_iter().zip(back) {
                for number in [newest + step, newest.saturating_sub(back)] {
                    let expected = if number > newest {
                        Place::Newest
                    } else if number <= start || newest - number >= WINDOW || came.contains(&number) {
                        Place::Replayed
                    } else {
                        Place::Late
                    };
                    prop_assert_eq!(window.take(number), expected, "{}", number);
                    if expected != Place::Replayed {
                        came.insert(number);
                        newest = newest.max(number);
                    }
                    prop_assert_eq!(window.missing(), newest - start - came.len() as u64);
                }
            }
        }
    }
}
