//! Who may use a socket.

use api::Access;

const GROUP: &str = "root:x:0:\nturnpikes:x:998:mallory\nturnpike:x:997:alice,bob\nusers:x:100:carol\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n\
                      carol:x:1002:1002::/:/bin/sh\nmallory:x:1003:998::/:/bin/sh\ndave:x:1004:997::/:/bin/sh\n";

#[test]
fn root_the_owner_and_members_may() {
    let access = Access::new(500, GROUP, PASSWD);
    for (user, group, who) in [
        (0, 0, "root"),
        (500, 500, "the owner"),
        (1000, 1000, "alice"),
        (1001, 1001, "bob"),
        (1004, 997, "dave"),
    ] {
        assert!(access.admits(user, group), "{who} may");
    }
    for (user, group, who) in [(1002, 1002, "carol"), (1003, 998, "mallory"), (4000, 4000, "a stranger")] {
        assert!(!access.admits(user, group), "{who} may not");
    }
}

#[test]
fn without_the_group_root_and_the_owner_may() {
    for group in ["", "turnpike", "turnpike:x:many:alice\n", ":::\n"] {
        let access = Access::new(500, group, PASSWD);
        assert!(access.admits(0, 0) && access.admits(500, 1) && !access.admits(1000, 1000), "{group:?}");
    }
}
