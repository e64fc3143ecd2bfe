"""The form: a run's request as fields to fill in, with what it would come to.

    Draft (texts, as typed) ─> Request ─> Outlook (plan, memory, tokens, what is wrong)
                                  ├─> Run here
                                  ├─> the equal cell (`nbpeft.writing`)
                                  └─> the plain script (`nbpeft.scripts`)

`controls` says which fields there are: those of the declared options and of the libraries' configs
that go with the method and the objective; `draft` reads what is typed into them; `outlook` prepares
the run that they ask for, and changes nothing; `view` shows it all. Whatever the form can ask for,
a cell can.
"""

from nbpeft.forms.door import show

__all__ = ["show"]
