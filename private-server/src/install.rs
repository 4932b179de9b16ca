//! The command that installs a server on this system.

use std::fs;

/// A half sentence such as "install one with `sudo apt-get install redis-server`".
pub(crate) fn hint() -> String {
    let system = if cfg!(target_os = "macos") {
        "ID=macos".to_owned()
    } else {
        // The two paths that os-release(5) names, in its order.
        fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default()
    };
    sentence(&system, rustix::process::geteuid().is_root())
}

fn sentence(os_release: &str, root: bool) -> String {
    let names = system_names(os_release);
    let command = names.iter().find_map(|name| command_of(name));
    match command {
        Some(command) if root || command.starts_with("brew") => format!("install one with `{command}`"),
        Some(command) => format!("install one with `sudo {command}`"),
        None => "install the package valkey or redis with this system's package manager".to_owned(),
    }
}

fn command_of(system: &str) -> Option<&'static str> {
    Some(match system {
        "debian" | "ubuntu" => "apt-get install redis-server",
        "fedora" | "rhel" | "centos" => "dnf install valkey",
        "arch" => "pacman -S valkey",
        "alpine" => "apk add valkey",
        "opensuse" | "suse" => "zypper install valkey",
        "macos" => "brew install valkey",
        _ => return None,
    })
}

/// `ID` first, then the names of `ID_LIKE`, the closest relative first.
fn system_names(os_release: &str) -> Vec<&str> {
    let value_of = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or_default()
            .trim_matches(['"', '\''])
    };
    let mut names = vec![value_of("ID")];
    names.extend(value_of("ID_LIKE").split_whitespace());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_command_of_this_system() {
        for (os_release, expected) in [
            ("ID=debian\n", "install one with `sudo apt-get install redis-server`"),
            ("ID=fedora\n", "install one with `sudo dnf install valkey`"),
            ("ID=arch\n", "install one with `sudo pacman -S valkey`"),
            ("ID=alpine\n", "install one with `sudo apk add valkey`"),
            ("ID=macos", "install one with `brew install valkey`"),
        ] {
            assert_eq!(sentence(os_release, false), expected);
        }
    }

    #[test]
    fn root_needs_no_sudo() {
        assert_eq!(sentence("ID=debian", true), "install one with `apt-get install redis-server`");
    }

    #[test]
    fn an_unknown_system_is_treated_like_its_relative() {
        let mint = "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n";
        assert!(sentence(mint, true).contains("apt-get install redis-server"));
        let rocky = "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n";
        assert!(sentence(rocky, true).contains("dnf install valkey"));
    }

    #[test]
    fn a_system_without_relatives_gets_a_general_sentence() {
        assert!(sentence("", false).contains("package manager"));
    }
}
