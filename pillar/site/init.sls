# This installation's overrides, merged over everything else. Never secrets: every node is given this file.
{}
