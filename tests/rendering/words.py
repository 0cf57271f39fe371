"""The words of an orchestration."""

# The first word of a step ID is one of these imperatives.
VERBS = {
    *(
        "Back",
        "Block",
        "Bootstrap",
        "Bring",
        "Check",
        "Clone",
        "Close",
        "Configure",
        "Create",
        "Cure",
        "Delete",
        "Deploy",
    ),
    *("Distribute", "Drain", "Finish", "Generate", "Install", "Let", "Lock", "Make", "Move", "Open", "Pause"),
    *(
        "Prepare",
        "Promote",
        "Prove",
        "Put",
        "Record",
        "Refresh",
        "Reject",
        "Remove",
        "Replace",
        "Restrict",
        "Retire",
    ),
    *("Return", "Set", "Show", "Sign", "Start", "Stop", "Sync", "Trust", "Unlock", "Update", "Upgrade"),
    "Wait",
}
