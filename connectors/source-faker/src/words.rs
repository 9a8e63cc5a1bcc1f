//! Words to invent from. ASCII without quotes or backslashes, so that they need no escaping.

pub(crate) const FIRST: &[&str] = &[
    "Ada", "Amir", "Beatriz", "Bruno", "Chioma", "Clara", "Dmitri", "Elif", "Emeka", "Farah", "Goran",
    "Hana", "Ines", "Jonas", "Kenji", "Leila", "Mateo", "Mina", "Nadia", "Olaf", "Priya", "Quentin", "Rosa",
    "Sven", "Tariq", "Uma", "Viktor", "Wanda", "Ximena", "Yusuf", "Zofia", "Tomas",
];
pub(crate) const LAST: &[&str] = &[
    "Abara",
    "Almeida",
    "Berg",
    "Castillo",
    "Dimitrov",
    "Eriksen",
    "Ferreira",
    "Grant",
    "Haddad",
    "Ivanova",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Quispe",
    "Rahman",
    "Sato",
    "Thompson",
    "Ueda",
    "Vargas",
    "Weber",
    "Xu",
    "Yilmaz",
    "Zhang",
    "Novak",
    "Silva",
    "Keller",
    "Osei",
    "Lopez",
];
pub(crate) const TITLES: &[&str] = &["Mr.", "Ms.", "Mx.", "Dr.", "Prof.", "Eng."];
pub(crate) const GENDERS: &[&str] = &["Male", "Female", "Non-binary", "Other"];
pub(crate) const LANGUAGES: &[&str] = &[
    "English",
    "Hindi",
    "Spanish",
    "French",
    "Arabic",
    "Bengali",
    "Portuguese",
    "Urdu",
    "German",
    "Japanese",
    "Turkish",
    "Korean",
];
pub(crate) const DEGREES: &[&str] = &["Bachelor", "Master", "PhD", "Diploma"];
pub(crate) const NATIONS: &[&str] = &[
    "Argentinian",
    "Brazilian",
    "Canadian",
    "Danish",
    "Egyptian",
    "French",
    "German",
    "Indian",
    "Japanese",
    "Kenyan",
    "Mexican",
    "Turkish",
];
pub(crate) const OCCUPATIONS: &[&str] = &[
    "Accountant",
    "Archivist",
    "Baker",
    "Bus Driver",
    "Carpenter",
    "Chemist",
    "Data Engineer",
    "Electrician",
    "Florist",
    "Gardener",
    "Geologist",
    "Librarian",
    "Mechanic",
    "Nurse",
    "Optician",
    "Painter",
    "Surveyor",
    "Teacher",
    "Translator",
    "Welder",
];
pub(crate) const BLOOD: &[&str] = &["O+", "A+", "B+", "AB+", "O-", "A-", "B-", "AB-"];
pub(crate) const MAIL: &[&str] = &["example.com", "example.org", "example.net"];
pub(crate) const STREETS: &[&str] = &[
    "Harbour",
    "Mill",
    "Station",
    "Orchard",
    "Chapel",
    "Market",
    "Bridge",
    "Forest",
    "Meadow",
    "Quarry",
    "Lighthouse",
    "Garden",
];
pub(crate) const STREET_KINDS: &[&str] = &["Street", "Avenue", "Lane", "Road", "Square", "Way"];
pub(crate) const CITIES: &[&str] = &[
    "Springfield",
    "Riverton",
    "Lakeside",
    "Fairview",
    "Greenville",
    "Ashford",
    "Milton",
    "Kingsport",
    "Oakdale",
    "Brookfield",
    "Newport",
    "Clifton",
];
pub(crate) const STATES: &[&str] =
    &["Oregon", "Texas", "Vermont", "Ohio", "Nevada", "Maine", "Kansas", "Georgia", "Utah", "Iowa"];
pub(crate) const COUNTRIES: &[&str] = &["US", "DE", "BR", "JP", "IN", "TR", "FR", "KE", "MX", "CA"];
pub(crate) const MAKES: &[&str] =
    &["Aurora", "Borealis", "Cascade", "Drift", "Ember", "Falcon", "Gale", "Horizon", "Indigo", "Juniper"];
pub(crate) const MODELS: &[&str] =
    &["Arrow", "Breeze", "Comet", "Delta", "Echo", "Flint", "Grove", "Halo", "Iris", "Jade"];
