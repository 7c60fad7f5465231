//! Types that are one word: as it lies in a map, or in the register by which a function of a BPF program takes or returns
//! it.

/// Gives a type that holds one word `from_word` and `word`.
#[macro_export]
macro_rules! one_word {
    ($type:ident, $word:ty) => {
        impl $type {
            /// From the word as it lies in a map or a register.
            #[inline(always)]
            #[must_use]
            pub const fn from_word(word: $word) -> Self {
                Self(word)
            }

            /// The word as it lies in a map or a register.
            #[inline(always)]
            #[must_use]
            pub const fn word(self) -> $word {
                self.0
            }
        }
    };
}
