"""Who teaches, and students made of a teacher.

`finding` has the teacher that `--teacher` names; `loading` one that lies in a folder or on the hub;
`students` cuts smaller models from larger ones.
"""

from nbpeft.teaching.finding import Teacher, refuse_other_vocabulary, teacher_of
from nbpeft.teaching.students import make_student

__all__ = ["Teacher", "make_student", "refuse_other_vocabulary", "teacher_of"]
