"""The offline model's visa answers: a country's usual rule for a strong or an ordinary passport."""

from typing import Literal, NamedTuple

from amrikyy.agents.catalog.travel.airport_table import fold
from amrikyy.agents.catalog.travel.places import Country, country_of
from amrikyy.agents.catalog.travel.requests import VisaRequest
from amrikyy.agents.catalog.travel.visas import VisaDraft

# Split on import: a list of so many strings would take a line each.
SCHENGEN = frozenset("AT BE BG HR CZ DK EE FI FR DE GR HU IS IT LV LI LT LU MT NL NO PL PT RO SK SI ES SE CH".split())  # noqa: SIM905
FREE_MOVEMENT = SCHENGEN | {"IE", "CY"}
GULF = frozenset({"AE", "SA", "KW", "QA", "BH", "OM"})
STRONG = FREE_MOVEMENT | frozenset({"US", "CA", "GB", "AU", "NZ", "JP", "KR", "SG"})
"""Passports that most countries admit without a visa."""

Kind = Literal["yes", "no", "e-visa", "on-arrival"]


class _Rule(NamedTuple):
    required: Kind
    visa_type: str
    processing: str
    max_stay_days: int | None
    fee: int


_AT_HOME = _Rule("no", "Right of abode", "None needed", None, 0)
_FREE = _Rule("no", "Freedom of movement", "None needed", None, 0)
_EXEMPT = _Rule("no", "Visa exemption", "None needed", 90, 0)
_EMBASSY = _Rule("yes", "Visitor visa", "3 to 6 weeks", 90, 80)
_SCHENGEN_VISA = _Rule("yes", "Schengen short-stay visa (type C)", "15 days, up to 45", 90, 98)

_STRONG_RULES = {
    "US": _Rule("e-visa", "Visa Waiver Program with ESTA", "Up to 72 hours", 90, 40),
    "CA": _Rule("e-visa", "Electronic Travel Authorization (eTA)", "Minutes, rarely days", 180, 5),
    "GB": _Rule("e-visa", "Electronic Travel Authorisation (ETA)", "Up to 3 working days", 180, 21),
    "AU": _Rule("e-visa", "Electronic Travel Authority", "Minutes to 2 days", 90, 13),
    "NZ": _Rule("e-visa", "NZeTA", "Up to 72 hours", 90, 60),
    "IN": _Rule("e-visa", "e-Tourist visa", "3 to 5 days", 90, 25),
    "EG": _Rule("on-arrival", "Visa on arrival or e-visa", "At the airport", 30, 25),
    "ID": _Rule("on-arrival", "Visa on arrival (e-VOA)", "At the airport, or 2 days online", 30, 32),
    "KE": _Rule("e-visa", "Electronic Travel Authorisation", "3 working days", 90, 32),
    "VN": _Rule("e-visa", "e-Visa", "3 to 5 working days", 90, 25),
    "CN": _Rule("yes", "Tourist visa (L)", "4 to 7 working days", 30, 140),
    "RU": _Rule("e-visa", "Unified e-visa", "4 days", 30, 52),
}
_OTHER_RULES = {
    "US": _Rule("yes", "B-1/B-2 visitor visa", "Weeks to months, by the consulate's waiting time", 180, 185),
    "CA": _Rule("yes", "Temporary resident visa", "2 to 8 weeks", 180, 73),
    "GB": _Rule("yes", "Standard Visitor visa", "3 weeks", 180, 160),
    "AU": _Rule("e-visa", "Visitor visa (subclass 600)", "2 to 5 weeks", 90, 130),
    "JP": _Rule("yes", "Short-term stay visa", "5 to 10 working days", 90, 20),
    "TR": _Rule("e-visa", "e-Visa, with a supporting visa or permit", "1 day", 30, 60),
    "AE": _Rule("e-visa", "Tourist e-visa", "3 to 5 working days", 30, 95),
    "TH": _Rule("e-visa", "Tourist visa (TR)", "5 to 10 working days", 60, 40),
    "ID": _Rule("on-arrival", "Visa on arrival (e-VOA)", "At the airport, or 2 days online", 30, 32),
    "IN": _Rule("e-visa", "e-Tourist visa", "3 to 5 days", 30, 25),
    "VN": _Rule("e-visa", "e-Visa", "3 to 5 working days", 90, 25),
    "KE": _Rule("e-visa", "Electronic Travel Authorisation", "3 working days", 90, 32),
    "EG": _Rule("yes", "Tourist visa", "1 to 3 weeks", 30, 25),
    "MA": _Rule("e-visa", "e-Visa", "1 to 3 working days", 30, 77),
}

_BEYOND_A_VISIT = {
    "stud": ("Student visa", "A letter of admission and proof of paid fees"),
    "work": ("Work visa", "A contract, and the employer's permit where the country asks for one"),
    "job": ("Work visa", "A contract, and the employer's permit where the country asks for one"),
}


def visa(request: VisaRequest) -> VisaDraft:
    """The entry requirements that usually apply."""
    there, holder = country_of(request.destination), country_of(request.nationality)
    rule, extra = _rule(there, holder, request)
    to = there.spoken if there else request.destination
    passport = f"a passport of {holder.spoken}" if holder else f"the passport you named ({request.nationality})"
    return VisaDraft(
        required=rule.required,
        visa_type=rule.visa_type,
        summary=_summary(rule, to, passport, request),
        documents=_documents(rule, request, extra),
        processing_time=rule.processing,
        max_stay_days=rule.max_stay_days,
        fee=rule.fee,
        steps=_steps(rule, to),
    )


def _rule(there: Country | None, holder: Country | None, request: VisaRequest) -> tuple[_Rule, str | None]:
    """The rule, and a document that it requires beyond the usual ones."""
    if there is not None and there == holder:
        return _AT_HOME, None
    theirs, ours = (there.code if there else ""), (holder.code if holder else "")
    if {theirs, ours} <= FREE_MOVEMENT or {theirs, ours} <= GULF or {theirs, ours} in ({"GB", "IE"}, {"AU", "NZ"}):
        return _FREE, None
    for word, (visa_type, document) in _BEYOND_A_VISIT.items():
        if any(part.startswith(word) for part in fold(request.purpose).split()):
            return _Rule("yes", visa_type, "4 to 12 weeks", 365, 180), document
    if ours in STRONG:
        return _STRONG_RULES.get(theirs, _EXEMPT), None
    return (_SCHENGEN_VISA if theirs in SCHENGEN else _OTHER_RULES.get(theirs, _EMBASSY)), None


def _summary(rule: _Rule, to: str, passport: str, request: VisaRequest) -> str:
    need = {
        "yes": f"you need a visa before you travel ({rule.visa_type})",
        "no": f"you need no visa ({rule.visa_type.lower()})",
        "e-visa": f"you apply online before you travel ({rule.visa_type})",
        "on-arrival": f"you get the visa at the border ({rule.visa_type})",
    }[rule.required]
    limit = "" if rule.max_stay_days is None else f" It usually allows up to {rule.max_stay_days} days."
    if rule.max_stay_days is not None and request.duration > rule.max_stay_days:
        limit += f" Your {request.duration} days are longer: ask for another kind of visa or a shorter stay."
    return f"With {passport}, going to {to} for {request.purpose}, {need}.{limit} Verify it before you book."


def _documents(rule: _Rule, request: VisaRequest, extra: str | None) -> list[str]:
    documents = ["Passport, valid for at least six months after the day you leave, with two empty pages"]
    if rule in (_AT_HOME, _FREE):
        return ["Passport or national identity card"]
    documents += ["Return or onward ticket", f"Proof of where you stay for {request.duration} days"]
    if rule.required != "no":
        documents += ["A recent passport photo", "Bank statements of the last three months", "Travel health insurance"]
    if "business" in fold(request.purpose):
        documents.append("A letter of invitation from the company you visit")
    return [*documents, extra] if extra else documents


def _steps(rule: _Rule, to: str) -> list[str]:
    if rule.required == "no":
        return ["Check how long your passport is valid", f"Travel to {to} and show it at the border"]
    if rule.required == "on-arrival":
        return ["Print your bookings", "Have the fee ready in cash and by card", "Queue at the visa counter first"]
    if rule.required == "e-visa":
        return [
            f"Find the official government site of {to}; others resell the same form at a higher price",
            "Fill in the form and upload passport and photo",
            "Pay the fee, and carry a print of the approval",
        ]
    return [
        f"Find the embassy, consulate or visa centre of {to} responsible for where you live",
        "Collect the documents and fill in the application",
        "Book the appointment, hand everything in and give your fingerprints",
        "Wait for the decision before you pay for what cannot be cancelled",
    ]
