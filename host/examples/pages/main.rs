//! Writes manual pages and shell completions, from the same list as the flags, into a folder:
//! `cargo run --package stacksonde --example pages -- FOLDER`.
//!
//! ```text
//! man/man1/stacksonde.1, stacksonde-record.1, ...   a page for each sub-command
//! man/man5/stacksonde.toml.5                        the comments of config/stacksonde.toml
//! completions/stacksonde.bash, _stacksonde, stacksonde.fish
//! ```

mod settings;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::error::Error;
use std::path::Path;
use std::time::SystemTime;

/// The file that a page of the configuration is made of.
const SETTINGS: &str = include_str!("../../../config/stacksonde.toml");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: pages FOLDER".into());
    };
    let folder = Path::new(&folder);
    let date = date()?;
    let pages = folder.join("man/man1");
    std::fs::create_dir_all(&pages)?;
    let mut program = stacksonde::cli::Program::command().disable_help_subcommand(true);
    program.build();
    page(&program, &[], &date, &pages)?;

    let pages = folder.join("man/man5");
    std::fs::create_dir_all(&pages)?;
    std::fs::write(pages.join("stacksonde.toml.5"), settings::page(SETTINGS, &date))?;

    let completions = folder.join("completions");
    std::fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut program = stacksonde::cli::Program::command();
        clap_complete::generate_to(shell, &mut program, "stacksonde", &completions)?;
    }
    Ok(())
}

/// Writes the page of `command`, whose parents' names are `parents`, and those of its sub-commands.
fn page(command: &Command, parents: &[&str], date: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let names = [parents, &[command.get_name()]].concat();
    let name = names.join("-");
    // A page is found by its name; what is typed has spaces.
    let named = command.clone().display_name(name.clone()).bin_name(names.join(" "));
    let version = format!("stacksonde {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(named).title(name.to_uppercase()).date(date).source(version).manual("Stacksonde");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    let is_shown = |argument: &&clap::Arg| !argument.is_hide_set();
    if command.get_arguments().filter(is_shown).count() > 0 {
        man.render_options_section(&mut text)?;
    }
    let children: Vec<&Command> = command.get_subcommands().filter(|child| !child.is_hide_set()).collect();
    if !children.is_empty() {
        text.extend(subcommands(&children).to_roff().into_bytes());
    }
    text.extend(ending(&names, &children).into_bytes());
    // clap_mangen ends lines where an empty one is about to follow.
    let text = String::from_utf8(text)?.replace(".br\n\n.br\n", ".sp\n");
    std::fs::write(folder.join(format!("{name}.1")), text)?;
    children.iter().try_for_each(|child| page(child, &names, date, folder))
}

fn subcommands(children: &[&Command]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for child in children {
        roff.control("TP", []);
        roff.text([clap_mangen::roff::bold(child.get_name())]);
        roff.text([roman(child.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
    roff
}

/// Returns the end of a page: further reading, and files that the program reads.
fn ending(names: &[&str], children: &[&Command]) -> String {
    let mut text = String::new();
    if names.len() == 1 {
        text += ".SH EXIT STATUS\n0 if what was asked for was done, 2 if it was refused or failed.\n\
            .SH ENVIRONMENT\n.TP\n\\fBSTACKSONDE_\\fISECTION\\fB__\\fIKEY\\fR\n\
            A key of the configuration, with two underscores between levels; lists are separated by commas. Keys that \
            decide which libraries are loaded are read from files alone.\n\
            .SH FILES\n.TP\n\\fI/etc/stacksonde/stacksonde.toml\\fR, \\fI/etc/stacksonde/conf.d/*.toml\\fR\n\
            The configuration, read in this order; later keys win.\n\
            .TP\n\\fI/usr/lib/*/stacksonde/plugins\\-1/\\fR\n\
            Plugins. They and the folders above must belong to root and be writable by root alone.\n\
            .TP\n\\fI/var/lib/stacksonde\\fR\nState of the service: profiles and batches that wait.\n";
    }
    let child = |child: &&Command| format!("{}-{}", names.join("-"), child.get_name());
    let mut others: Vec<String> = children.iter().map(child).collect();
    if names.len() > 1 {
        others.push(names[..names.len() - 1].join("-"));
    }
    let mut others: Vec<String> = others.iter().map(|name| reference(name, 1)).collect();
    others.push(reference("stacksonde.toml", 5));
    text + ".SH SEE ALSO\n" + &others.join(",\n") + "\n"
}

fn reference(name: &str, section: u8) -> String {
    format!("\\fB{}\\fR({section})", name.replace('-', "\\-"))
}

/// The day of `SOURCE_DATE_EPOCH`, so that two builds of the same sources give the same pages, else today; as
/// year-month-day.
fn date() -> Result<String, Box<dyn Error>> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse::<i64>().map_err(|error| format!("SOURCE_DATE_EPOCH is `{text}`: {error}"))?,
        Err(_) => i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs())?,
    };
    Ok(day(seconds.div_euclid(86_400)))
}

/// The day that lies `days` after 1970-01-01, in the Gregorian calendar.
fn day(days: i64) -> String {
    // Years counted from March, so that the leap day is a year's last; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year_of_era, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", year + i64::from(month <= 2))
}
