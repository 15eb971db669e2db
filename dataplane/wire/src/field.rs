//! Headers as tables of fields at fixed offsets.
//!
//! A header is a reference to an array of its exact size. The one bounds check is the one that makes the array; every
//! access after it has a constant offset, checked when the crate is compiled.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::{Checksum, Delta};
use crate::{EtherType, Mac, Port, Proto, Seq, TcpFlags};

/// A value of `N` octets on the wire.
pub trait Field<const N: usize>: Copy {
    /// The value that these octets, in network order, stand for.
    fn from_octets(octets: [u8; N]) -> Self;
    /// The octets of the value in network order.
    fn to_octets(self) -> [u8; N];
}

macro_rules! integer_fields {
    ($($type:ty = $len:literal),*) => {$(
        impl Field<$len> for $type {
            #[inline]
            fn from_octets(octets: [u8; $len]) -> Self {
                Self::from_be_bytes(octets)
            }
            #[inline]
            fn to_octets(self) -> [u8; $len] {
                self.to_be_bytes()
            }
        }
    )*};
}
integer_fields!(u8 = 1, u16 = 2, u32 = 4);

macro_rules! newtype_fields {
    ($($type:ident($inner:ty) = $len:literal),*) => {$(
        impl Field<$len> for $type {
            #[inline]
            fn from_octets(octets: [u8; $len]) -> Self {
                Self(<$inner as Field<$len>>::from_octets(octets))
            }
            #[inline]
            fn to_octets(self) -> [u8; $len] {
                self.0.to_octets()
            }
        }
    )*};
}
newtype_fields!(Port(u16) = 2, Seq(u32) = 4, TcpFlags(u8) = 1, Proto(u8) = 1, EtherType(u16) = 2);
newtype_fields!(Mac([u8; 6]) = 6, Checksum([u8; 2]) = 2);

impl<const N: usize> Field<N> for [u8; N] {
    #[inline]
    fn from_octets(octets: [u8; N]) -> Self {
        octets
    }
    #[inline]
    fn to_octets(self) -> [u8; N] {
        self
    }
}

impl Field<4> for Ipv4Addr {
    #[inline]
    fn from_octets(octets: [u8; 4]) -> Self {
        Self::from(octets)
    }
    #[inline]
    fn to_octets(self) -> [u8; 4] {
        self.octets()
    }
}

impl Field<16> for Ipv6Addr {
    #[inline]
    fn from_octets(octets: [u8; 16]) -> Self {
        Self::from(octets)
    }
    #[inline]
    fn to_octets(self) -> [u8; 16] {
        self.octets()
    }
}

/// The field of `N` octets at `AT`.
#[inline(always)]
pub fn read<const AT: usize, const N: usize, const LEN: usize, T: Field<N>>(header: &[u8; LEN]) -> T {
    const { assert!(AT + N <= LEN, "field outside its header") };
    // The fallback cannot be reached, by the assertion above: it only keeps a panic out of the code.
    T::from_octets(header.get(AT..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N]))
}

/// Stores the field of `N` octets at `AT`.
#[inline(always)]
pub fn write<const AT: usize, const N: usize, const LEN: usize, T: Field<N>>(
    header: &mut [u8; LEN],
    value: T,
) {
    const { assert!(AT + N <= LEN, "field outside its header") };
    if let Some(slot) = header.get_mut(AT..).and_then(<[u8]>::first_chunk_mut) {
        *slot = value.to_octets();
    }
}

/// How the sum over a header changes when the field at `AT` does.
#[inline(always)]
pub fn change<const AT: usize, const N: usize, T: Field<N>>(old: T, new: T) -> Delta {
    let delta = Delta::of(&old.to_octets(), &new.to_octets());
    if AT & 1 == 0 { delta } else { delta.at_odd() }
}

/// The array of `N` octets at `offset` of `bytes`, or [`crate::Error::Short`].
#[inline]
pub fn chunk<const N: usize>(bytes: &[u8], offset: usize) -> Result<&[u8; N], crate::Error> {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).ok_or(crate::Error::Short)
}

/// The array of `N` octets at `offset` of `bytes` for writing, or [`crate::Error::Short`].
#[inline]
pub fn chunk_mut<const N: usize>(bytes: &mut [u8], offset: usize) -> Result<&mut [u8; N], crate::Error> {
    bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut).ok_or(crate::Error::Short)
}

/// Declares a header: `[pub] Name[octets]`, then one line per field, `[pub] getter[, setter[, rewriter]]: Type = offset;`.
///
/// The type is generic over who holds the array: `Name<&[u8; N]>` reads, `Name<&mut [u8; N]>` also writes, and
/// `Name<[u8; N]>` is a copy. A rewriter needs the header's `adjust`.
macro_rules! header {
    (
        $(#[$doc:meta])*
        $header_vis:vis $name:ident[$len:expr];
        $(
            $(#[$field_doc:meta])*
            $vis:vis $get:ident $(, $set:ident $(, $rewrite:ident)?)?: $type:ty = $at:expr;
        )*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $header_vis struct $name<B>(pub(crate) B);

        impl<'a> $name<&'a [u8; $len]> {
            /// The header at `offset` of `bytes`; `Short` if it does not fit. Nothing else is checked.
            #[inline]
            pub fn at(bytes: &'a [u8], offset: usize) -> Result<Self, $crate::Error> {
                $crate::field::chunk(bytes, offset).map(Self)
            }
        }

        impl<'a> $name<&'a mut [u8; $len]> {
            /// The header at `offset` of `bytes`, for writing; `Short` if it does not fit. Nothing else is checked.
            #[inline]
            pub fn at_mut(bytes: &'a mut [u8], offset: usize) -> Result<Self, $crate::Error> {
                $crate::field::chunk_mut(bytes, offset).map(Self)
            }
        }

        impl<B: core::borrow::Borrow<[u8; $len]>> $name<B> {
            /// The octets of the header, in network order.
            #[inline]
            pub fn octets(&self) -> &[u8; $len] {
                self.0.borrow()
            }

            $(
                $(#[$field_doc])*
                #[inline]
                $vis fn $get(&self) -> $type {
                    $crate::field::read::<{ $at }, _, { $len }, $type>(self.0.borrow())
                }
            )*
        }

        impl<B: core::borrow::BorrowMut<[u8; $len]>> $name<B> {
            $($(
                #[doc = concat!("Stores `", stringify!($get), "`; checksums are left to the caller.")]
                #[inline]
                $vis fn $set(&mut self, value: $type) {
                    $crate::field::write::<{ $at }, _, { $len }, $type>(self.0.borrow_mut(), value);
                }
                $(
                    #[doc = concat!("Stores `", stringify!($get), "` and carries the checksum of this header along.")]
                    #[inline]
                    $vis fn $rewrite(&mut self, value: $type) {
                        let delta = $crate::field::change::<{ $at }, _, $type>(self.$get(), value);
                        self.$set(value);
                        self.adjust(delta);
                    }
                )?
            )?)*
        }
    };
}
pub(crate) use header;
