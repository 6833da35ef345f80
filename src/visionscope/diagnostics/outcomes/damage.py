"""What questions have in common that change images, or the network, and count what it still gets right."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import check_rules
from visionscope.diagnostics.outcomes.rows import first_images

if TYPE_CHECKING:
    from visionscope.core.subject import Subject


@later(passes=("parts",), statistics=("summary", "outcomes"))
class Damage:
    """A question about the labelled images of `eval`, asked without and with each of several changes.

    Attributes:
        condition: a dataclass whose columns name a change; `row` and `summary_row` have them, too.
        unchanged: what the first of them holds where nothing was changed.
        summary_row: a `ChangeRow` with the columns of `condition`.
    """

    name: ClassVar[str]
    sample: ClassVar[str] = "eval"
    theme: ClassVar[str] = Theme.ROBUSTNESS
    condition: ClassVar[Any]
    unchanged: ClassVar[str | None] = None
    summary_row: ClassVar[type]

    sample_size: int

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        return first_images(self.name, self.sample_size, available)

    def check(self, subject: "Subject") -> None:
        """Refuses a subject with a NotApplicableError, before anything is computed."""

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The columns that name a change."""
        return tuple(field.name for field in dataclasses.fields(cls.condition))
