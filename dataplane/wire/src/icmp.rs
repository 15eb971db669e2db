//! What ICMP and ICMPv6 have in common: the shape of a message.

/// What a message is for, in ICMP and ICMPv6 alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A query, with identifier and sequence number.
    Request,
    /// The answer to a query, with the same identifier and sequence number.
    Reply,
    /// An error, which quotes the packet that it is about.
    Error,
    /// Neither: routers, neighbours, multicast listeners, and unknown types.
    Other,
}

/// Declares what follows from a module's `Type`, with its `class`, and its `Header` of 8 octets: the parsed view
/// `Message`, the value `Repr`, and how a type is read and written.
macro_rules! message {
    () => {
        impl $crate::field::Field<1> for Type {
            #[inline]
            fn from_octets([octet]: [u8; 1]) -> Self {
                Self(octet)
            }
            #[inline]
            fn to_octets(self) -> [u8; 1] {
                [self.0]
            }
        }

        /// A message taken apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Message<'a> {
            header: Header<&'a [u8; HEADER_LEN]>,
            octets: &'a [u8],
            body: &'a [u8],
        }

        impl<'a> Message<'a> {
            /// Takes apart a message that fills `bytes`; `Short` below 8 octets. The checksum is not looked at.
            #[inline]
            pub fn parse(bytes: &'a [u8]) -> Result<Self, $crate::Error> {
                let (head, body) = bytes.split_first_chunk().ok_or($crate::Error::Short)?;
                Ok(Self { header: Header(head), octets: bytes, body })
            }

            /// The first 8 octets.
            #[inline]
            pub const fn header(&self) -> Header<&'a [u8; HEADER_LEN]> {
                self.header
            }

            /// The whole message, from its type on: what the checksum covers.
            #[inline]
            pub const fn octets(&self) -> &'a [u8] {
                self.octets
            }

            /// What follows the header.
            #[inline]
            pub const fn body(&self) -> &'a [u8] {
                self.body
            }

            /// What the message is for.
            #[inline]
            pub fn class(&self) -> Class {
                self.header.kind().class()
            }

            /// The packet that an error quotes, for [`crate::quote::Quote::parse`]; `None` for other messages.
            #[inline]
            pub fn quoted(&self) -> Option<&'a [u8]> {
                (self.class() == Class::Error).then_some(self.body)
            }
        }

        /// The header of a message as a value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Repr {
            /// Type.
            pub kind: Type,
            /// Code.
            pub code: u8,
            /// The last four octets of the header.
            pub rest: [u8; 4],
        }

        impl Repr {
            /// The values of a message's header.
            pub fn of(message: &Message<'_>) -> Self {
                let header = message.header();
                Self { kind: header.kind(), code: header.code(), rest: header.rest() }
            }

            /// Writes header and checksum; `pseudo` is the sum over what the checksum covers besides the message.
            fn emit_over(
                &self,
                pseudo: $crate::checksum::Sum,
                message: &mut [u8],
            ) -> Result<(), $crate::Error> {
                let mut header = Header::at_mut(message, 0)?;
                header.set_kind(self.kind);
                header.set_code(self.code);
                header.set_checksum($crate::Checksum::ZERO);
                header.set_rest(self.rest);
                let sum = pseudo.plus(message).checksum();
                Header::at_mut(message, 0)?.set_checksum(sum);
                Ok(())
            }
        }
    };
}
pub(crate) use message;
