//! Longest-prefix match over addresses of one family: a path-compressed binary trie in one arena.
//!
//! Overview: shared by tables and by the forwarding base. Nodes are numbered, so a trie is cloned by copying one `Vec`.
//! Ownership: built by control threads, read by workers, never changed in place once published.
//! Bounds: a lookup visits at most one node per bit of the address; recursion is not used.

use wire::Af;

const NONE: u32 = u32::MAX;

/// Nodes that are not worth building a trie anew for.
const TIDY_FROM: usize = 1024;

#[derive(Clone, Debug)]
struct Node<T> {
    /// The prefix, left-aligned in 128 bits, zero behind its length.
    bits: u128,
    /// Its length in bits.
    length: u8,
    /// What the prefix maps to; `None` for nodes that only branch.
    value: Option<T>,
    /// The subtrees whose next bit is 0 and 1.
    children: [u32; 2],
}

/// Prefixes of one address family, each with a value.
#[derive(Clone, Debug)]
pub struct Lpm<T> {
    af: Af,
    nodes: Vec<Node<T>>,
    root: u32,
    prefixes: usize,
}

impl<T> Lpm<T> {
    /// An empty trie for addresses of `af`.
    pub const fn new(af: Af) -> Self {
        Self { af, nodes: Vec::new(), root: NONE, prefixes: 0 }
    }

    /// How many prefixes it holds.
    pub const fn len(&self) -> usize {
        self.prefixes
    }

    /// True if it holds none.
    pub const fn is_empty(&self) -> bool {
        self.prefixes == 0
    }

    /// Adds a prefix, or replaces its value; returns the value that was there. `address` is in host order, right-aligned
    /// (an IPv4 address in the low 32 bits); bits behind `length` are ignored. Lengths beyond the family's are cut.
    pub fn insert(&mut self, address: u128, length: u8, value: T) -> Option<T> {
        let length = length.min(self.af.bits());
        let bits = mask(self.left(address), length);
        let mut parent: Option<(u32, usize)> = None;
        let mut at = self.root;
        loop {
            let Some(node) = self.nodes.get(at as usize) else {
                let new = self.push(bits, length, Some(value));
                self.link(parent, new);
                self.prefixes += 1;
                return None;
            };
            let common = common_length(node.bits, bits).min(node.length).min(length);
            if common == node.length && common == length {
                return self.replace(at, value);
            }
            if common == node.length {
                let side = bit(bits, common);
                parent = Some((at, side));
                at = node.children[side];
                continue;
            }
            self.split(parent, at, bits, length, common, value);
            self.prefixes += 1;
            return None;
        }
    }

    /// The value of the longest prefix that holds `address` (host order, right-aligned).
    #[inline]
    pub fn lookup(&self, address: u128) -> Option<&T> {
        self.longest(address)?.value.as_ref()
    }

    /// As [`lookup`](Self::lookup), with the prefix (as [`insert`](Self::insert) takes it) and its length.
    pub fn lookup_prefix(&self, address: u128) -> Option<(u128, u8, &T)> {
        self.longest(address).and_then(|node| self.entry(node))
    }

    /// Every prefix with its length and value, in order, shorter ones before the longer ones that they hold.
    pub fn entries(&self) -> Vec<(u128, u8, &T)> {
        let mut entries: Vec<_> = self.nodes.iter().filter_map(|node| self.entry(node)).collect();
        entries.sort_by_key(|(prefix, length, _)| (*prefix, *length));
        entries
    }

    fn entry<'a>(&self, node: &'a Node<T>) -> Option<(u128, u8, &'a T)> {
        let value = node.value.as_ref()?;
        let prefix = match self.af {
            Af::Inet => node.bits >> 96,
            Af::Inet6 => node.bits,
        };
        Some((prefix, node.length, value))
    }

    #[inline]
    fn longest(&self, address: u128) -> Option<&Node<T>> {
        match self.af {
            // Of two words the second is empty: half as much to compare.
            Af::Inet => {
                let word = (address as u64) << 32;
                let covers =
                    |node: &Node<T>| common_length_of_words(first_word(node.bits), word) >= node.length;
                self.walk(covers, |index| bit_of_word(word, index))
            }
            Af::Inet6 => {
                let covers = |node: &Node<T>| common_length(node.bits, address) >= node.length;
                self.walk(covers, |index| bit(address, index))
            }
        }
    }

    /// Walks down from the root, given whether a node's prefix covers the address, and the bits of that.
    #[inline(always)]
    fn walk(&self, covers: impl Fn(&Node<T>) -> bool, bit: impl Fn(u8) -> usize) -> Option<&Node<T>> {
        let mut best = None;
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at as usize) {
            if !covers(node) {
                break;
            }
            if node.value.is_some() {
                best = Some(node);
            }
            if node.length >= self.af.bits() {
                break;
            }
            at = node.children[bit(node.length)];
        }
        best
    }

    /// The value of exactly this prefix.
    pub fn get(&self, address: u128, length: u8) -> Option<&T> {
        let bits = mask(self.left(address), length);
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at as usize) {
            if node.length > length || common_length(node.bits, bits) < node.length {
                return None;
            }
            if node.length == length {
                return node.value.as_ref();
            }
            at = node.children[bit(bits, node.length)];
        }
        None
    }

    /// Removes a prefix and returns its value. Its node stays, and serves a later prefix of the same place;
    /// [`tidy`](Self::tidy) frees it.
    pub fn remove(&mut self, address: u128, length: u8) -> Option<T> {
        let bits = mask(self.left(address), length);
        let mut at = self.root;
        while let Some(node) = self.nodes.get_mut(at as usize) {
            if node.length > length || common_length(node.bits, bits) < node.length {
                return None;
            }
            if node.length == length {
                let removed = node.value.take();
                self.prefixes -= usize::from(removed.is_some());
                return removed;
            }
            at = node.children[bit(bits, node.length)];
        }
        None
    }

    /// Every prefix, as it was given (host order, right-aligned), its length and its value; in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u8, &T)> {
        let shift = 128 - u32::from(self.af.bits());
        self.nodes
            .iter()
            .filter_map(move |node| Some((node.bits >> shift, node.length, node.value.as_ref()?)))
    }

    /// Builds the trie anew if most of its nodes have outlived their prefixes.
    pub fn tidy(&mut self) {
        // A trie of n prefixes has fewer than 2n nodes.
        if self.nodes.len() < 4 * self.prefixes + TIDY_FROM {
            return;
        }
        let mut tidied = Self::new(self.af);
        for node in std::mem::take(&mut self.nodes) {
            if let Some(value) = node.value {
                let address = node.bits >> (128 - u32::from(self.af.bits()));
                tidied.insert(address, node.length, value);
            }
        }
        *self = tidied;
    }

    const fn left(&self, address: u128) -> u128 {
        match self.af {
            Af::Inet => address << 96,
            Af::Inet6 => address,
        }
    }

    fn push(&mut self, bits: u128, length: u8, value: Option<T>) -> u32 {
        self.nodes.push(Node { bits, length, value, children: [NONE; 2] });
        (self.nodes.len() - 1) as u32
    }

    fn link(&mut self, parent: Option<(u32, usize)>, child: u32) {
        match parent {
            Some((node, side)) => self.nodes[node as usize].children[side] = child,
            None => self.root = child,
        }
    }

    fn replace(&mut self, at: u32, value: T) -> Option<T> {
        let old = self.nodes[at as usize].value.replace(value);
        self.prefixes += usize::from(old.is_none());
        old
    }

    /// Puts a prefix where `at` branches off from it, or above `at` if it covers it.
    fn split(&mut self, parent: Option<(u32, usize)>, at: u32, bits: u128, length: u8, common: u8, value: T) {
        let old_side = bit(self.nodes[at as usize].bits, common);
        let above = if common == length {
            self.push(bits, length, Some(value))
        } else {
            let branch = self.push(mask(bits, common), common, None);
            let new = self.push(bits, length, Some(value));
            self.nodes[branch as usize].children[1 - old_side] = new;
            branch
        };
        self.nodes[above as usize].children[old_side] = at;
        self.link(parent, above);
    }
}

/// How many leading bits two prefixes share.
#[inline]
const fn common_length(a: u128, b: u128) -> u8 {
    (a ^ b).leading_zeros() as u8
}

#[inline]
const fn common_length_of_words(a: u64, b: u64) -> u8 {
    (a ^ b).leading_zeros() as u8
}

#[inline]
const fn first_word(bits: u128) -> u64 {
    (bits >> 64) as u64
}

/// Bit number `index` from the left, below 128. Of one of two words: shifts of 128 bits take several times as long.
#[inline]
const fn bit(bits: u128, index: u8) -> usize {
    bit_of_word(if index < 64 { first_word(bits) } else { bits as u64 }, index)
}

/// Bit number `index % 64` from the left.
#[inline]
const fn bit_of_word(word: u64, index: u8) -> usize {
    ((word << (index % 64)) >> 63) as usize
}

/// The first `length` bits, zeros behind them.
const fn mask(bits: u128, length: u8) -> u128 {
    match length {
        0 => 0,
        1..=127 => bits & (u128::MAX << (128 - length)),
        _ => bits,
    }
}
