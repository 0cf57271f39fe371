#!yaml
# Certificates. The authorities themselves are on the master (salt-run fanatico.ca_status).
pki:
  days: 90                        # days that a node's certificate is valid
  renew_days: 30                  # replaced if fewer days are left: by any highstate, and by a nightly job
