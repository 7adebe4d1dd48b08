"""What the command line says when it can't go on: one line that tells what to do.

Complaint               exit code 1
|- UsageComplaint       exit code 2: the command or a setting is wrong
|- Unavailable          exit code 3: something it needs is not there (a relay, a wallet, an engine)
|- NotDone              exit code 4: the work was tried and did not succeed (a job refused, an audit red)
"""


class Complaint(Exception):
    exit_code = 1


class UsageComplaint(Complaint):
    exit_code = 2


class Unavailable(Complaint):
    exit_code = 3


class NotDone(Complaint):
    exit_code = 4
