"""Every error that terraloom raises on purpose.

    TerraloomError              anything raised on purpose
    ├── InputError              the user's input is wrong: one message, exit code 2
    │   ├── SettingsError       terraloom.toml: unknown key, bad value, unset environment variable
    │   ├── UnknownMember       a family has no member of that name
    │   ├── UnknownCode         a mask holds a code or colour that the class table does not know
    │   ├── PairError           image without mask, mask without image
    │   │   └── UnequalSizes    image and mask differ in size
    │   ├── CaptionFileError    a caption file cannot be read, or is in no layout that is known
    │   ├── UnreadableFile      a file ends early, or its bytes are damaged
    │   ├── TilesDisagree       two files hold different values for the same pixels
    │   ├── NothingLeft         filters left no patch, or a role holds no row
    │   ├── OutputError         the output cannot be written
    │   ├── RoleError           rows of another role were handed to something that is fitted
    │   ├── LeakFound           a place, a near-duplicate or too close a patch straddles two roles
    │   ├── LeakingInput        captions that give an answer away were handed to a task as inputs
    │   ├── WeightsUnavailable  pretrained weights cannot be had
    │   ├── BadCheckpoint       weights are damaged, of another network, or no numbers
    │   └── NewerFormat         a table was written by a newer version
    └── RunError                the run failed through no fault of the input: exit code 1
        ├── DamagedTable        a shard does not match its manifest
        ├── DivergedTraining    a loss is no longer a number
        └── StageMissing        a stage needs the output of one that has not run

Messages say what was asked, what was found, and what to do.
"""


class TerraloomError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 1


class InputError(TerraloomError):
    """The user's input is wrong; the message is complete and needs no traceback."""

    exit_code = 2


class ProjectBusy(InputError):
    """Another process works on the project folder."""


class SettingsError(InputError):
    """The settings file has an unknown key, a bad value or an unset environment variable."""


class UnknownMember(InputError):
    """A family has no member of the name asked for; the message lists those there are."""


class UnknownCode(InputError):
    """A mask holds a code or colour that is neither a class nor ignored."""


class PairError(InputError):
    """An image lacks its mask, a mask its image, or their sizes differ."""


class UnequalSizes(PairError):
    """An image and its mask differ in size, and nothing tells how one lies on the other."""


class UnreadableFile(InputError):
    """A file cannot be opened or read to its end; patches that need it are left out by name."""


class CaptionFileError(InputError):
    """A caption file cannot be read as text, or is in no layout that is known."""


class TilesDisagree(InputError):
    """Two files of one kind cover the same pixels with different values."""


class NothingLeft(InputError):
    """No patch survived the filters, or a role of the split holds no row."""


class OutputError(InputError):
    """The output folder cannot be written."""


class RoleError(InputError):
    """Rows of another role than `train` were handed to something that is fitted."""


class LeakFound(InputError):
    """A place, a near-duplicate image or a patch within the buffer straddles two roles."""

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report
        """All that the leak test found."""


class LeakingInput(InputError):
    """Captions whose writer saw shares or mask were to be inputs of a task that predicts them."""


class WeightsUnavailable(InputError):
    """Pretrained weights are neither cached nor downloadable."""


class NewerFormat(InputError):
    """A table or checkpoint was written by a newer major version of the format."""


class RunError(TerraloomError):
    """The run failed through no fault of the user's input."""


class DamagedTable(RunError):
    """A shard is missing, truncated or altered against its manifest."""


class BadCheckpoint(InputError, DamagedTable):
    """Weights on disk are damaged, belong to another network, or hold no numbers.

    A damaged file like any other, but one that users copy, exchange and hand over: their input.
    """


class DivergedTraining(RunError):
    """A loss became infinite or no number; the message names the image it happened at."""


class StageMissing(RunError):
    """A stage needs the output of a stage that has not finished."""
