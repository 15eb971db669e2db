//! Who may use the sockets.

use api::Access;

const GROUP: &str = "root:x:0:\nturnpike:x:990:alice,carol\nother:x:991:dave\n";
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\ncarol:x:1002:1002::/:/\n";

#[test]
fn root_the_own_user_and_the_group_may_connect_and_nobody_else() {
    let access = Access::new(65_534, GROUP, PASSWD);
    assert!(access.admits(0, 0), "root");
    assert!(access.admits(65_534, 65_534), "its own user");
    assert!(access.admits(1000, 1000) && access.admits(1002, 1002), "members");
    assert!(access.admits(1001, 990), "by primary group");
    assert!(!access.admits(1001, 1001), "bob");
    assert!(!access.admits(1001, 991), "another group");
    assert!(!access.admits(1003, 1003), "nobody known");
}

#[test]
fn without_the_group_only_root_and_the_own_user_may() {
    for (group, passwd) in [("", ""), ("turnpike\n", PASSWD), ("turnpike:x:many:alice", PASSWD)] {
        let access = Access::new(500, group, passwd);
        assert!(access.admits(0, 0) && access.admits(500, 1));
        assert!(!access.admits(1000, 990), "{group}");
    }
}
