//! The plan of a start: everything that can be looked up before the fork, so that the child only makes system calls.

use super::StartFailed;
use crate::workload::spec::GuardSpec;
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    mem, ptr,
};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Room for one line of the user database.
const USER_BUFFER_BYTES: usize = 16 << 10;
/// More groups than Linux allows a user are cut off.
const MAX_GROUPS: usize = 65_536;

/// Whom to become.
pub struct Switch {
    pub uid: libc::uid_t,
    pub gid: libc::gid_t,
    pub groups: Vec<libc::gid_t>,
}

pub struct Plan {
    pub workload: String,
    pub program: String,
    pub user: String,
    /// Tried in order.
    pub candidates: Vec<CString>,
    pub arguments: Vec<CString>,
    pub environment: Vec<CString>,
    pub working_dir: CString,
    /// `None`: stay who the guard is.
    pub switch: Option<Switch>,
    pub nice: i32,
}

impl Plan {
    pub fn new(spec: &GuardSpec, nice: i32) -> Result<Self, StartFailed> {
        // SAFETY: no arguments, cannot fail.
        let own_uid = unsafe { libc::geteuid() };
        let user = match &spec.user {
            Some(name) => Some(User::find(name).ok_or_else(|| {
                StartFailed(format!(
                    "workload.{}.exec.user: this node has no user \"{name}\": create it or name another",
                    spec.workload
                ))
            })?),
            None => User::of(own_uid),
        };
        let switch = user.as_ref().filter(|user| user.uid != own_uid);
        if let Some(user) = switch.filter(|_| own_uid != 0) {
            return Err(StartFailed(format!(
                "workload.{}.exec.user: this agent isn't root and can't become \"{}\": remove the key, or run the agent as root",
                spec.workload, user.name
            )));
        }
        let environment = environment(spec, user.as_ref());
        let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let program = spec.command.first().map_or("", String::as_str);
        Ok(Self {
            workload: spec.workload.clone(),
            program: program.to_owned(),
            user: user.as_ref().map_or_else(|| own_uid.to_string(), |user| user.name.clone()),
            candidates: candidates(program, path).iter().map(|c| c_string(c)).collect(),
            arguments: spec.command.iter().map(|a| c_string(a)).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| c_string(&format!("{name}={value}")))
                .collect(),
            working_dir: c_string(spec.working_dir.as_deref().unwrap_or("/")),
            switch: switch.map(User::switch),
            nice,
        })
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("GuardSpec::check refuses zero bytes")
}

/// Where the program may be.
fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    path.split(':').filter(|dir| !dir.is_empty()).map(|dir| format!("{dir}/{program}")).collect()
}

/// Nothing is inherited from the agent. What the workload's file says wins over the defaults, Holdfast's own over both.
fn environment(spec: &GuardSpec, user: Option<&User>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    if let Some(user) = user {
        all.insert("HOME".into(), user.home.clone());
        all.insert("USER".into(), user.name.clone());
        all.insert("LOGNAME".into(), user.name.clone());
    }
    all.extend(spec.env.clone());
    all.extend([
        ("HOLDFAST_WORKLOAD".into(), spec.workload.clone()),
        ("HOLDFAST_INSTANCE".into(), spec.instance.to_string()),
        ("HOLDFAST_INDEX".into(), spec.index.to_string()),
        ("HOLDFAST_NODE".into(), spec.node.clone()),
        ("HOLDFAST_GENERATION".into(), spec.generation.to_string()),
        ("HOLDFAST_ADDR".into(), spec.agent_addr.clone()),
    ]);
    all
}

struct User {
    name: String,
    home: String,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl User {
    /// By name, or by number.
    fn find(name: &str) -> Option<Self> {
        let c_name = c_string(name);
        // SAFETY: the arguments are those of getpwnam_r.
        let found = Self::look_up(|entry, buffer, size, found| unsafe {
            libc::getpwnam_r(c_name.as_ptr(), entry, buffer, size, found)
        });
        found.or_else(|| name.parse().ok().and_then(Self::of))
    }

    fn of(uid: libc::uid_t) -> Option<Self> {
        // SAFETY: the arguments are those of getpwuid_r.
        Self::look_up(|entry, buffer, size, found| unsafe {
            libc::getpwuid_r(uid, entry, buffer, size, found)
        })
    }

    fn look_up(
        call: impl FnOnce(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> i32,
    ) -> Option<Self> {
        let mut buffer = vec![0; USER_BUFFER_BYTES];
        // SAFETY: all-zero is a valid passwd to be overwritten; its texts point into the buffer, which outlives them.
        unsafe {
            let mut entry: libc::passwd = mem::zeroed();
            let mut found = ptr::null_mut();
            call(&raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found);
            if found.is_null() {
                return None;
            }
            let text = |at| CStr::from_ptr(at).to_string_lossy().into_owned();
            let (name, home) = (text(entry.pw_name), text(entry.pw_dir));
            Some(Self { name, home, uid: entry.pw_uid, gid: entry.pw_gid })
        }
    }

    fn switch(&self) -> Switch {
        let name = c_string(&self.name);
        let mut groups = vec![0; 64];
        loop {
            let mut count = i32::try_from(groups.len()).expect("at most MAX_GROUPS");
            // SAFETY: `groups` has room for `count` entries.
            let rc =
                unsafe { libc::getgrouplist(name.as_ptr(), self.gid, groups.as_mut_ptr(), &raw mut count) };
            if rc >= 0 || groups.len() >= MAX_GROUPS {
                groups.truncate(usize::try_from(rc.max(0)).unwrap_or(0));
                return Switch { uid: self.uid, gid: self.gid, groups };
            }
            groups.resize(groups.len() * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::spec::tests::example;

    #[test]
    fn the_environment_is_clean_and_holdfasts_own_names_cant_be_forged() {
        let mut spec = example();
        spec.env.insert("HOLDFAST_GENERATION".into(), "999".into());
        spec.env.insert("MODE".into(), "prod".into());
        let env = environment(&spec, None);
        assert_eq!(env["HOLDFAST_GENERATION"], "7");
        assert_eq!(env["MODE"], "prod");
        assert_eq!(env["PATH"], DEFAULT_PATH);
        assert!(!env.contains_key("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn a_program_without_a_slash_is_looked_for_in_the_path() {
        assert_eq!(candidates("sh", "/a::/b"), ["/a/sh", "/b/sh"]);
        assert_eq!(candidates("./sh", "/a:/b"), ["./sh"]);
    }

    #[test]
    fn an_unknown_user_names_the_key() {
        let mut spec = example();
        spec.user = Some("nobody-of-this-name".into());
        let Err(StartFailed(text)) = Plan::new(&spec, 0) else { panic!("there is no such user") };
        assert!(text.contains("workload.web.exec.user"), "{text}");
        assert!(text.contains("nobody-of-this-name"), "{text}");
    }

    #[test]
    fn root_is_found_by_name_and_number() {
        assert_eq!(User::find("root").unwrap().uid, 0);
        assert_eq!(User::find("0").unwrap().name, "root");
    }
}
